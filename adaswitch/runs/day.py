"""The day that a run's chat template takes for today: that of the run's first attempt, whenever it is resumed."""

import datetime
from collections.abc import Iterable
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError
from adaswitch.method.policies.replay import Replay
from adaswitch.runs.config_files import read_yaml
from adaswitch.runs.directory import CONFIG_FILE
from adaswitch.tasks.base import ChatTask, Task
from adaswitch.tasks.chat import as_day
from adaswitch.tasks.custom import CustomTask


def with_day_of_run(config: RunConfig) -> RunConfig:
    """``config`` with ``task.date`` filled in; ``config`` itself if it is set, or if no prompt depends on it.

    An existing run keeps its day, and a run that replays another takes that one's. Any other run begins today.
    """
    if not needs_day(config.task):
        return config
    folders = [Path(config.runs_dir) / config.name]
    if isinstance(config.policy, Replay):
        folders.append(Path(config.policy.run))
    return config.model_copy(update={"task": with_day(config.task, first_day(folders))})


def with_day(task: Task, day: datetime.date | None) -> Task:
    """``task`` with its date filled in: ``day``, or today. ``task`` itself if it has one, or needs none."""
    return task.model_copy(update={"date": day or today()}) if needs_day(task) else task


def needs_day(task: Task) -> bool:
    """Whether the prompts of ``task`` may depend on the day, and no day is set.

    A user's own task is not asked, since not every program of a run has its code.
    """
    if isinstance(task, CustomTask):
        return task.date is None
    return isinstance(task, ChatTask) and task.chat_template and task.date is None


def first_day(runs: Iterable[Path]) -> datetime.date | None:
    """The day of the first of ``runs`` that has one in its config; None if none of them has."""
    return next((day for run in runs if (day := _day_of(run)) is not None), None)


def day_of_checkpoint(model: str) -> datetime.date | None:
    """The day of the run that the model folder ``model`` is a checkpoint of; None for any other model."""
    folder = Path(model).resolve()
    return _day_of(folder.parents[1]) if folder.parent.name == "checkpoints" else None


def today() -> datetime.date:
    """The real day, by this machine's clock."""
    return datetime.date.today()


def _day_of(run: Path) -> datetime.date | None:
    """The day in the config of the run directory ``run``. Raises ``ConfigError`` if it is none."""
    path = run / CONFIG_FILE
    if not path.is_file():
        return None
    task = read_yaml(path).get("task")
    try:
        day = as_day(task.get("date")) if isinstance(task, dict) else None
    except ValueError as error:
        raise ConfigError(f"config file {path}: task.date: {error}") from None
    assert day is None or isinstance(day, datetime.date)
    return day
