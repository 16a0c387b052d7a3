"""``RunConfig``: everything that a run depends on, and the checks of settings that must fit together."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from adaswitch.config.base import Settings
from adaswitch.config.cluster import QueueConfig, RayConfig
from adaswitch.config.student import StudentConfig
from adaswitch.config.teacher import TeacherConfig
from adaswitch.config.trackers import TrackerName
from adaswitch.config.trainer import TrainerConfig
from adaswitch.config.warm_start import WarmStart
from adaswitch.errors import ConfigError
from adaswitch.method.losses.cross_entropy import CrossEntropy
from adaswitch.method.policies import AnyPolicy
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.sft import SFT
from adaswitch.method.schedule import TeacherBudgetConfig
from adaswitch.registry.own_code import OwnCode
from adaswitch.tasks import AnyTask


class RunConfig(Settings):
    """Everything that a run depends on."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The name of the run. The run directory is ``runs_dir/name``."""
    runs_dir: str = "runs"
    """The folder that holds all run directories."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """The seed of the run. Every random number of a rollout follows from this seed and the prompt's id."""
    task: AnyTask
    """Where prompts come from and how an answer is marked."""
    teacher: TeacherConfig
    """How the teacher is reached, what the run asks of the teacher, and how the teacher is served."""
    student: StudentConfig
    """The model that is trained, and how the student actors write completions with it."""
    warm_start: WarmStart | None = None
    """How ``adaswitch sft`` makes the folder ``student.model`` before the run: supervised fine-tuning of another model
    on the data set's own answers. The run itself only reads the folder."""
    policy: AnyPolicy = AdaSwitch()
    """The rollout policy, which decides who writes a completion."""
    teacher_budget: TeacherBudgetConfig = TeacherBudgetConfig()
    """How many tokens the teacher may write in a step and in the whole run. By default there is no limit."""
    trainer: TrainerConfig = TrainerConfig()
    """The loss, the optimizer, and how often the trainer evaluates and saves checkpoints."""
    queue: QueueConfig = QueueConfig()
    """The rollout queue between students and trainer."""
    ray: RayConfig = RayConfig()
    """The Ray cluster on which students, trainer and queue run."""
    trackers: list[TrackerName] = Field(default_factory=lambda: list[TrackerName](["tensorboard"]))
    """Where the trainer also sends settings, figures, marks, samples of rollouts, pictures and the final model's place:
    ``tensorboard``, ``wandb``, ``mlflow``, ``trackio``, several of them, or none with an empty list. Each but the first
    is a package of its own, ``adaswitch[wandb]`` and so on, and is set up by its own environment variables."""

    @field_validator("trackers")
    @classmethod
    def _each_once(cls, trackers: list[TrackerName]) -> list[TrackerName]:
        if len(set(trackers)) < len(trackers):
            raise ValueError("names a tracker twice: name each once")
        return trackers

    @model_validator(mode="after")
    def _queue_holds_a_step(self) -> Self:
        if self.queue.capacity < self.trainer.prompts_per_step:
            raise ValueError(
                f"queue.capacity {self.queue.capacity} must be at least trainer.prompts_per_step "
                f"{self.trainer.prompts_per_step}: a step could never be filled"
            )
        return self

    @model_validator(mode="after")
    def _rules_fit(self) -> Self:
        # A user's own class can be asked only after it is imported: see ``check_rules``.
        if not isinstance(self.policy, OwnCode) and not isinstance(self.trainer.loss, OwnCode):
            _require_candidates(self)
            _require_something_learnt(self)
        return self

    @model_validator(mode="after")
    def _a_loss_without_teacher(self) -> Self:
        loss = self.trainer.loss
        if not isinstance(self.policy, SFT):
            return self
        if not isinstance(loss, CrossEntropy):
            raise ValueError(
                "trainer.loss: policy sft has no teacher to compare with: set trainer.loss to {kind: cross_entropy}"
            )
        if loss.select.by is not None:
            raise ValueError(
                f"trainer.loss.select.by {loss.select.by}: policy sft has no teacher: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _another_student(self) -> Self:
        if self.warm_start is not None and self.warm_start.model == self.student.model:
            raise ValueError(
                f"warm_start.model: {self.warm_start.model!r} is student.model itself, the folder that the fine-tuned "
                "student goes to: name another folder there"
            )
        return self

    @model_validator(mode="after")
    def _a_teacher_to_limit(self) -> Self:
        limits = (self.teacher_budget.tokens_per_step, self.teacher_budget.tokens_per_run)
        if not self.policy.needs_students and limits != (None, None):
            raise ValueError(
                f"teacher_budget: with policy {self.policy.name} the teacher writes nothing: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _somebody_evaluates(self) -> Self:
        if not self.policy.needs_students and self.trainer.eval_by == "students":
            raise ValueError(
                f"trainer.eval_by: with policy {self.policy.name} there are no students: leave it out, so that the "
                "trainer evaluates"
            )
        return self

    @model_validator(mode="after")
    def _ranks_have_work(self) -> Self:
        trainer = self.trainer
        if trainer.num_ranks == 1:
            return self
        if not self.policy.needs_students:
            raise ValueError(
                f"trainer.num_ranks {trainer.num_ranks}: a run with policy {self.policy.name} trains in one process: "
                "set it to 1"
            )
        if trainer.optimizer.kind == "adamw_8bit":
            raise ValueError(
                f"trainer.optimizer.kind adamw_8bit: means in 8 bits are not divided among trainer.num_ranks "
                f"{trainer.num_ranks}: take adamw, or one rank"
            )
        if trainer.num_ranks > trainer.prompts_per_step:
            raise ValueError(
                f"trainer.num_ranks {trainer.num_ranks} must be at most trainer.prompts_per_step "
                f"{trainer.prompts_per_step}: a rank without a rollout has nothing to do"
            )
        if trainer.eval_every and trainer.eval_by == "trainer":
            raise ValueError(
                f"trainer.eval_by: with trainer.num_ranks {trainer.num_ranks} no process has the whole model to "
                "evaluate it with: set trainer.eval_by to students, or trainer.eval_every to 0"
            )
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


def check_rules(config: RunConfig) -> None:
    """Import the user's own code that ``config`` names, and check that it can be used, before anything is started.

    Raises ``ConfigError`` with one line that has the path, the cause and the fix.
    """
    config.policy.check()
    config.trainer.loss.check()
    config.task.check()
    try:
        _require_candidates(config)
        _require_something_learnt(config)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _require_candidates(config: RunConfig) -> None:
    """Raises ``ValueError`` if the policy looks among more candidates than the teacher gives."""
    accepted, top_k = config.policy.accepted_candidates, config.teacher.top_k
    if accepted is not None and accepted > top_k:
        raise ValueError(
            f"{config.policy.accepted_setting} {accepted} must not exceed teacher.top_k {top_k}: "
            "only so many candidates are known"
        )


def _require_something_learnt(config: RunConfig) -> None:
    """Raises ``ValueError`` if none of the tokens that the policy's writers write would count in the loss."""
    writers, name = config.policy.writers, config.policy.name
    exploration_weight, guidance_weight = config.trainer.loss.stage_weights()
    if writers == {"student"} and exploration_weight == 0:
        raise ValueError(f"trainer.loss.exploration_weight 0 with policy {name}: no token would count")
    if writers == {"other"} and guidance_weight == 0:
        raise ValueError(f"trainer.loss.guidance_weight 0 with policy {name}: no token would count")
    if writers == {"other"} and config.trainer.loss.selection().by == "divergence":
        raise ValueError(
            f"trainer.loss.select.by divergence with policy {name}: no divergence is seen: take teacher_entropy"
        )
