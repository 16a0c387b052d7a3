"""Typed, strict settings of a run, and how a document becomes them.

``RunConfig`` is the whole of it; ``docs`` of a field stand under the field. Reading files is
``adaswitch.runs.config_files``' business.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from adaswitch.config.base import Settings
from adaswitch.config.policy import (
    AdaSwitchPolicyConfig,
    DatasetPolicyConfig,
    DivergenceName,
    MixedPolicyConfig,
    OffPolicyConfig,
    OnPolicyConfig,
    PolicyConfig,
    RandomSwitchPolicyConfig,
    RelayPolicyConfig,
    ReplayPolicyConfig,
    SharedScalePolicyConfig,
    SKDPolicyConfig,
    ThresholdPolicyConfig,
    accepted_candidates,
    hands_back,
    needs_reference,
)
from adaswitch.config.student import StudentConfig, TeacherBudgetConfig
from adaswitch.config.tasks import (
    ChainTaskConfig,
    DataSource,
    DialogsumTaskConfig,
    Gsm8kTaskConfig,
    GsmPlusTaskConfig,
    JsonlTaskConfig,
    RecordTaskConfig,
    TaskConfig,
)
from adaswitch.config.teacher import TeacherConfig, TeacherServiceConfig
from adaswitch.config.trainer import (
    CrossEntropyConfig,
    DivergenceLossConfig,
    ForwardKLConfig,
    JSDConfig,
    LossConfig,
    OptimizerConfig,
    ReverseKLConfig,
    SkewedKLConfig,
    SkewedReverseKLConfig,
    TotalVariationConfig,
    TrainerConfig,
)
from adaswitch.errors import ConfigError

__all__ = [
    "AdaSwitchPolicyConfig",
    "ChainTaskConfig",
    "CrossEntropyConfig",
    "DataSource",
    "DatasetPolicyConfig",
    "DialogsumTaskConfig",
    "DivergenceLossConfig",
    "DivergenceName",
    "ForwardKLConfig",
    "Gsm8kTaskConfig",
    "GsmPlusTaskConfig",
    "JSDConfig",
    "JsonlTaskConfig",
    "LossConfig",
    "MixedPolicyConfig",
    "OffPolicyConfig",
    "OnPolicyConfig",
    "OptimizerConfig",
    "PolicyConfig",
    "QueueConfig",
    "RandomSwitchPolicyConfig",
    "RayConfig",
    "RecordTaskConfig",
    "RelayPolicyConfig",
    "ReplayPolicyConfig",
    "ReverseKLConfig",
    "RunConfig",
    "SKDPolicyConfig",
    "SharedScalePolicyConfig",
    "SkewedKLConfig",
    "SkewedReverseKLConfig",
    "StudentConfig",
    "TaskConfig",
    "TeacherBudgetConfig",
    "TeacherConfig",
    "TeacherServiceConfig",
    "ThresholdPolicyConfig",
    "TotalVariationConfig",
    "TrainerConfig",
    "accepted_candidates",
    "hands_back",
    "needs_reference",
    "parse_config",
    "with_overrides",
]


class RayConfig(Settings):
    """The Ray cluster that students, trainer, queue and weight board meet on."""

    address: str | None = None
    """``HOST:PORT`` of the cluster's head; by default what RAY_ADDRESS says, else a cluster on this machine."""
    namespace: str = "adaswitch"
    """Where the queue and the weight board are found by name."""


class QueueConfig(Settings):
    """The rollout queue."""

    capacity: int = Field(default=4096, ge=1)
    """Prompts leased and rollouts held, together; no more is leased until the trainer has taken some."""
    lease_timeout_s: float = Field(default=600.0, gt=0)
    """After which a leased prompt whose rollout has not come is given to another student."""
    silence_timeout_s: float = Field(default=30.0, ge=3)
    """The same, for one whose student has given no sign of life, of which there is one a second: its node is lost."""
    trainer_timeout_s: float = Field(default=600.0, ge=60)
    """After which a run is over whose trainer has given no sign of life: it was killed, and its students are free."""


class RunConfig(Settings):
    """Everything that a run depends on."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The run directory is ``runs_dir/name``."""
    runs_dir: str = "runs"
    """The folder of all run directories."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """With a prompt's id it fixes every random number of that prompt's rollout."""
    task: TaskConfig
    """Where prompts come from and how an answer is marked."""
    teacher: TeacherConfig
    """How the teacher is reached, asked and served."""
    student: StudentConfig
    """The model that is trained, and how its actors write."""
    policy: PolicyConfig = AdaSwitchPolicyConfig()
    """Who writes a completion."""
    teacher_budget: TeacherBudgetConfig = TeacherBudgetConfig()
    """How much the teacher may write, in a step and in the run; by default as much as it needs."""
    trainer: TrainerConfig = TrainerConfig()
    """The loss, the optimizer, and how often what is written."""
    queue: QueueConfig = QueueConfig()
    """Between students and trainer."""
    ray: RayConfig = RayConfig()
    """The cluster that they all run on."""

    @model_validator(mode="after")
    def _queue_holds_a_step(self) -> Self:
        if self.queue.capacity < self.trainer.prompts_per_step:
            raise ValueError(
                f"queue.capacity {self.queue.capacity} must be at least trainer.prompts_per_step "
                f"{self.trainer.prompts_per_step}: a step could never be filled"
            )
        return self

    @model_validator(mode="after")
    def _enough_candidates(self) -> Self:
        accepted = accepted_candidates(self.policy)
        if accepted is not None and accepted > self.teacher.top_k:
            raise ValueError(
                f"policy.accept_top_k {accepted} must not exceed teacher.top_k {self.teacher.top_k}: "
                "only so many candidates are known"
            )
        return self

    @model_validator(mode="after")
    def _something_is_learnt(self) -> Self:
        loss, kind = self.trainer.loss, self.policy.kind
        if kind == "on_policy" and loss.exploration_weight == 0:
            raise ValueError("trainer.loss.exploration_weight 0 with policy on_policy: no token would count")
        if kind in ("off_policy", "dataset") and loss.guidance_weight == 0:
            raise ValueError(f"trainer.loss.guidance_weight 0 with policy {kind}: no token would count")
        return self

    @model_validator(mode="after")
    def _a_teacher_to_limit(self) -> Self:
        limits = (self.teacher_budget.tokens_per_step, self.teacher_budget.tokens_per_run)
        if isinstance(self.policy, ReplayPolicyConfig) and limits != (None, None):
            raise ValueError("teacher_budget: with policy replay the teacher writes nothing: leave it out")
        return self

    @model_validator(mode="after")
    def _a_token_for_every_rollout(self) -> Self:
        budget, per_step = self.teacher_budget, self.trainer.prompts_per_step
        for name, limit, num_rollouts in (
            ("tokens_per_step", budget.tokens_per_step, per_step),
            ("tokens_per_run", budget.tokens_per_run, per_step * self.trainer.num_steps),
        ):
            if limit is not None and limit < num_rollouts:
                raise ValueError(
                    f"teacher_budget.{name} {limit} must be at least {num_rollouts}, the number of rollouts: "
                    "each has a share of one token or more"
                )
        return self


def parse_config(document: Mapping[str, object]) -> RunConfig:
    """``document`` as a ``RunConfig``. Raises ``ConfigError``: one line with the key and the fix."""
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(describe(error, RunConfig)) from None


def with_overrides(
    document: Mapping[str, object], overrides: Sequence[tuple[str, object]]
) -> dict[str, object]:
    """A copy of ``document`` in which each ``("trainer.num_steps", 10)`` has replaced or added its key."""
    result = dict(document)
    for path, value in overrides:
        head, _, rest = path.partition(".")
        if not head:
            raise ConfigError(f"{path!r}: a key is missing before the dot; write it as in trainer.num_steps")
        if rest:
            inner = result.get(head) or {}
            if not isinstance(inner, Mapping):
                raise ConfigError(f"{path}: {head} is a single value and has no keys of its own")
            result[head] = with_overrides(inner, [(rest, value)])
        else:
            result[head] = value
    return result


def describe(error: ValidationError, model: type[Settings]) -> str:
    """The first of pydantic's findings as one line, and how many more there are."""
    findings = error.errors(include_url=False)
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return _one_line(findings[0], model) + more


def _one_line(finding: ErrorDetails, model: type[Settings]) -> str:
    path = _path(finding, model)
    if finding["type"] == "extra_forbidden":
        key, known = str(finding["loc"][-1]), _known_keys(model)
        # A key that is right elsewhere is not misspelt.
        close = [] if key in known else difflib.get_close_matches(key, sorted(known), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{path}: unknown setting{hint}"
    if finding["type"] == "missing":
        return f"{path}: this setting is required"
    if finding["type"] == "union_tag_not_found":
        return f"{path}.kind: this setting is required"
    if finding["type"] == "union_tag_invalid":
        context = finding["ctx"]
        return f"{path}.kind: {context['tag']!r} is not one of {context['expected_tags']}"
    message = finding["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message


def _path(finding: ErrorDetails, model: type[Settings]) -> str:
    """The key as it is written in a document: without the ``kind``s that pydantic puts between."""
    last = finding["loc"][len(finding["loc"]) - 1 :] if finding["type"] == "extra_forbidden" else ()
    inner = finding["loc"][: len(finding["loc"]) - len(last)]
    known, by_name = _known_keys(model), _mapping_keys(model)
    kept = [
        str(part)
        for before, part in zip(("", *inner), inner, strict=False)
        if isinstance(part, int) or part in known or before in by_name
    ]
    return ".".join([*kept, *map(str, last)])


def _mapping_keys(model: type[Settings]) -> set[str]:
    """The keys anywhere under ``model`` that hold a mapping, whose own keys are names that somebody chose."""
    keys: set[str] = set()
    for definition in [model.model_json_schema(), *model.model_json_schema().get("$defs", {}).values()]:
        properties = definition.get("properties", {})
        keys |= {key for key, schema in properties.items() if schema.get("type") == "object"}
    return keys


def _known_keys(model: type[Settings]) -> set[str]:
    """All keys anywhere under ``model``, for a suggestion on a misspelt one."""
    keys: set[str] = set()
    for definition in [model.model_json_schema(), *model.model_json_schema().get("$defs", {}).values()]:
        keys |= set(definition.get("properties", {}))
    return keys
