"""The work of a comparison: the training of each cell, and the evaluations of each trained cell.

Every piece of work is a process of its own, and is complete once its result file exists. It stores the settings that
it was begun with, so that results under other settings are never taken for the plan's.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from adaswitch.config.run import RunConfig
from adaswitch.config.threads import reserved_cpus
from adaswitch.errors import ConfigError, DataError
from adaswitch.evaluation.report import RESULTS
from adaswitch.method.policies.random_switch import RandomSwitch
from adaswitch.method.policies.replay import Replay
from adaswitch.runs.config_files import load_config, read_yaml, write_config
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.overview import CELL_FILE as CELL_FILE
from experiments.engines import LocalEngine
from experiments.plan import Cell, FinalEvaluation, Plan

ATTEMPTS_FILE = "attempts.jsonl"
"""The wall and CPU seconds of each attempt at the cell, also of attempts that were stopped."""
FINISHED_FILE = "finished.json"
"""Written once the cell is complete: the wall and CPU seconds of all attempts together."""
EVALUATION = "evaluation-"
"""How the folders of a cell's evaluations begin; the name that the plan gives the evaluation follows."""
SETTINGS_FILE = "settings.yaml"
"""An evaluation's own settings, in its folder."""


class Work(Protocol):
    """One piece of a comparison's work, which one process does."""

    @property
    def name(self) -> str:
        """The name that people read."""

    @property
    def folder(self) -> Path:
        """The folder that the work writes to."""

    @property
    def num_threads(self) -> int:
        """The number of CPU threads."""

    @property
    def result(self) -> Path:
        """The file that exists once the work is complete."""

    @property
    def source(self) -> Path | None:
        """The run directory that has to be complete first, if it belongs to the comparison."""

    def require_same_settings(self) -> None:
        """Raises ``ConfigError`` if the work was begun with other settings."""

    def begin(self) -> tuple[str, list[str]]:
        """Write the settings down. Returns the module to run, and its arguments."""


class Training:
    """The training run of a cell."""

    def __init__(self, cell: Cell, local: LocalEngine | None = None) -> None:
        """``local`` is the teacher's engine if the cell runs in one process; if it is None, the run is served."""
        self.name = cell.config.name
        self.folder = cell.folder
        self.num_threads = reserved_cpus(cell.config.trainer.num_threads)
        self.result = cell.folder / FINISHED_FILE
        self.source = source_of(cell.config)
        self.time_limit_s = cell.config.trainer.time_limit_s
        """The seconds of steps after which the run ends; None if it ends by their number alone."""
        self._config = cell.config
        self._local = local

    def require_same_settings(self) -> None:
        """See ``Work``."""
        begun = self.folder / CELL_FILE
        if begun.is_file():
            documents = (config.model_dump(mode="json") for config in (load_config(begun), self._config))
            _require_same(self, *documents)

    def begin(self) -> tuple[str, list[str]]:
        """See ``Work``."""
        run = RunDirectory.create(self._config)
        config = run.path / CELL_FILE
        write_config(self._config, config)
        local = [] if self._local is None else ["--local", self._local]
        return "experiments.cell", ["--config", str(config), *local]


def source_of(config: RunConfig) -> Path | None:
    """The run directory that the run's policy reads; None if it reads none."""
    match config.policy:
        case RandomSwitch(from_run=str(source)) | Replay(run=source):
            return Path(source).resolve()
        case _:
            return None


class Evaluating:
    """``adaswitch eval`` of a cell's newest checkpoint."""

    def __init__(self, cell: Cell, label: str, settings: FinalEvaluation) -> None:
        self.name = f"{cell.config.name}: {label}"
        self.folder = evaluation_folder(cell, label)
        self.num_threads = reserved_cpus(cell.config.trainer.num_threads)
        self.result = self.folder / RESULTS
        self.source = cell.folder.resolve()
        self._cell = cell
        self._settings = settings

    def require_same_settings(self) -> None:
        """See ``Work``."""
        begun = self.folder / SETTINGS_FILE
        if begun.is_file():
            _require_same(self, read_yaml(begun), self._settings.model_dump(mode="json"))

    def begin(self) -> tuple[str, list[str]]:
        """See ``Work``."""
        run = RunDirectory.open(self._cell.folder)
        steps = run.checkpoint_steps()
        if not steps:
            raise DataError(
                "no checkpoint to evaluate: remove it, to have it made again", source=str(run.path)
            )
        self.folder.mkdir(exist_ok=True)
        document = self._settings.model_dump(mode="json")
        (self.folder / SETTINGS_FILE).write_text(yaml.safe_dump(document), encoding="utf-8")
        arguments = ["eval", "--config", str(run.path / "config.yaml")]
        arguments += ["--model", os.fspath(run.checkpoint(steps[-1])), "--output", str(self.folder)]
        arguments += ["--seed", str(self._cell.seed), "--device", self._cell.config.trainer.device]
        for key, value in document.items():
            if value is not None:
                arguments += [f"--{key.replace('_', '-')}", str(value)]
        return "adaswitch", arguments


def evaluation_folder(cell: Cell, label: str) -> Path:
    """Where the evaluation ``label`` of ``cell`` is kept."""
    return cell.folder / f"{EVALUATION}{label}"


def all_work(plan: Plan, cells: Sequence[Cell], local: LocalEngine | None) -> list[Work]:
    """The training of all cells, and then the plan's evaluations of each."""
    training: list[Work] = [Training(cell, local) for cell in cells]
    return training + [
        Evaluating(cell, label, settings) for cell in cells for label, settings in plan.evaluations.items()
    ]


def _require_same(work: Work, then: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    before, now = _flat(then), _flat(plan)
    for key in [key for key in {**before, **now} if before.get(key) != now.get(key)][:1]:
        raise ConfigError(
            f"{work.name}: {key} is {now.get(key)!r} in the plan, and was {before.get(key)!r} when this was begun: "
            f"give the plan another name, or remove {work.folder}"
        )


def _flat(document: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return flat
