"""A comparison's plan: which methods, which seeds, and what they have in common. Read from YAML.

A cell is one method with one seed: a run like any other, with a run directory of its own.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from adaswitch.config.base import Settings
from adaswitch.config.parsing import describe, parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.data.threads import one_thread_each
from adaswitch.errors import ConfigError
from adaswitch.runs.config_files import parse_override, read_yaml
from adaswitch.runs.day import first_day, with_day
from adaswitch.runs.overview import PLAN_FILE
from adaswitch.storage import write_atomically, writing

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


OWN_SETTINGS = {"name", "runs_dir", "seed"}
"""Settings of a run that a plan cannot set: two cells in one directory would be mistaken for each other."""


class FinalEvaluation(Settings):
    """An ``adaswitch eval`` of each cell's newest checkpoint, on the held-out prompts of its config."""

    limit: int | None = Field(default=None, ge=1)
    """Evaluate only this many prompts, from the first on. None: as many as ``trainer.eval_prompts``."""
    teacher: str | None = None
    """A model folder: also measure the divergence from this model, on the text that the student writes."""
    temperature: float = Field(default=0.0, ge=0)
    """The temperature at which the student writes; 0 is greedy."""
    num_samples: int = Field(default=1, ge=1)
    """Completions for each prompt."""
    batch_size: int = Field(default=16, ge=1)
    """Completions that are written together, as one batch."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of both models."""

    @model_validator(mode="after")
    def _samples_that_differ(self) -> Self:
        if self.num_samples > 1 and self.temperature == 0:
            raise ValueError(
                f"num_samples {self.num_samples}: at temperature 0 all of a prompt's completions are the same; "
                "set temperature, as in temperature: 1.0"
            )
        return self


class Plan(Settings):
    """What is compared. Values may contain ``{seed}``, which each cell replaces by its own seed."""

    name: Name
    """The comparison's directory is ``runs_dir/name``."""
    runs_dir: str = "runs"
    """The folder of all run directories."""
    title: str = ""
    """The heading of the table, in one line."""
    base: str
    """The config file that every cell starts from."""
    seeds: list[int] = Field(min_length=1)
    """The seeds. Each method with each seed is one cell."""
    settings: dict[str, object] = Field(default_factory=dict)
    """Settings of every cell, as ``key.path: value``. Each cell's ``seed`` is set automatically."""
    methods: dict[Name, dict[str, object]] = Field(min_length=1)
    """By name: the settings that define the method, as ``key.path: value``."""
    evaluations: dict[Name, FinalEvaluation] = Field(default_factory=dict)
    """By name: evaluations of each trained cell, in addition to those that the trainer makes during training."""
    reference: str = "adaswitch"
    """The method that all others are compared with, seed by seed."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.reference not in self.methods:
            raise ValueError(
                f"reference: {self.reference!r} is none of the methods ({', '.join(self.methods)})"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: the same seed twice")
        for place, settings in {"settings": self.settings, **self.methods}.items():
            if taken := sorted(settings.keys() & OWN_SETTINGS):
                raise ValueError(f"{place}: {taken[0]} is each run's own, by method and seed: leave it out")
        return self


@dataclass(frozen=True)
class Cell:
    """One method with one seed, and the settings of its run."""

    method: str
    seed: int
    config: RunConfig

    @property
    def folder(self) -> Path:
        """The cell's run directory."""
        return Path(self.config.runs_dir) / self.config.name


def load_plan(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """The plan in a YAML file; ``overrides`` as ``key.path=value`` are added to the settings of every cell.

    Raises ``ConfigError``: one line with the key and the fix.
    """
    changes = dict(parse_override(text) for text in overrides)
    try:
        plan = Plan.model_validate(read_yaml(path))
        return Plan.model_validate({**plan.model_dump(), "settings": {**plan.settings, **changes}})
    except ValidationError as error:
        raise ConfigError(f"plan {path}: {describe(error, Plan)}") from None


def comparison_folder(plan: Plan) -> Path:
    """The folder of the comparison."""
    return Path(plan.runs_dir) / plan.name


def keep_plan(plan: Plan) -> None:
    """Write ``plan`` into the comparison's folder, for who looks at it later. Raises ``StorageError``."""
    folder = comparison_folder(plan)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_atomically(folder / PLAN_FILE, text.encode(errors="replace"))


def cells(plan: Plan) -> list[Cell]:
    """All cells, one seed after the other, so that an interrupted comparison has whole seeds to show.

    The chat templates of all cells take the same day for today: that of the comparison's first cell. Raises a
    ``ConfigError`` that names the method whose settings are wrong.
    """
    base = read_yaml(plan.base)
    day = first_day(sorted(comparison_folder(plan).glob("*/")))
    return [_cell(plan, base, method, seed, day) for seed in plan.seeds for method in plan.methods]


def _cell(plan: Plan, base: Mapping[str, object], method: str, seed: int, day: datetime.date | None) -> Cell:
    fixed = {"name": f"{method}-seed{seed}", "runs_dir": str(comparison_folder(plan)), "seed": seed}
    settings = {**fixed, **plan.settings, **plan.methods[method]}
    overrides = [(key, _filled(value, seed)) for key, value in settings.items()]
    try:
        config = parse_config(with_overrides(base, overrides))
        # Several cells may run at once, and how many must not change a cell's numbers.
        config = one_thread_each(config)
        return Cell(method, seed, config.model_copy(update={"task": with_day(config.task, day)}))
    except ConfigError as error:
        raise ConfigError(f"method {method}: {error}") from None


def _filled(value: object, seed: int) -> object:
    """``value`` with the seed in place of ``{seed}``, also inside of lists and mappings."""
    if isinstance(value, Mapping):
        return {key: _filled(inner, seed) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, seed) for inner in value]
    if value == "{seed}":
        return seed
    return value.replace("{seed}", str(seed)) if isinstance(value, str) else value


def only(plan: Plan, methods: str, seeds: str) -> Plan:
    """``plan`` with only some ``methods`` and ``seeds``, which are lists separated by commas; an empty list keeps all.

    Raises ``ConfigError`` for a method or a seed that is not in the plan. The reference method always stays, as the
    others are compared with it.
    """
    chosen = _chosen("--methods", methods, list(plan.methods)) | ({plan.reference} if methods else set())
    numbers = _chosen("--seeds", seeds, [str(seed) for seed in plan.seeds])
    return plan.model_copy(
        update={
            "methods": {name: value for name, value in plan.methods.items() if name in chosen},
            "seeds": [seed for seed in plan.seeds if str(seed) in numbers],
        }
    )


def _chosen(option: str, text: str, known: list[str]) -> set[str]:
    if not text:
        return set(known)
    chosen = {part.strip() for part in text.split(",")}
    if unknown := sorted(chosen - set(known)):
        raise ConfigError(f"{option}: {unknown[0]!r} is not in the plan ({', '.join(known)})")
    return chosen
