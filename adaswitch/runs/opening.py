"""What every program does first with a run's settings: are they those of a run that may begin, or go on?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adaswitch.config.run import RunConfig, check_rules
from adaswitch.errors import ConfigError, DataError
from adaswitch.runs.attempts import check_attempt, complete_after, under_new_name
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import CONFIG_FILE, RunDirectory
from adaswitch.runs.recorded import resolve_config
from adaswitch.runs.status import Phase, StatusFile, read_status
from adaswitch.runs.words import place_overrides, run_of


def load_settings(file: Path, overrides: Sequence[str], *, new_name: bool = False) -> RunConfig:
    """The run that ``file`` describes, under a name that no run has if ``new_name`` is set.

    Raises ``ConfigError``, also for the file of a run that was moved or copied to where its own settings do not say.
    """
    config = load_config(file, overrides)
    if new_name:
        return under_new_name(config)
    if not any(override.startswith(("name=", "runs_dir=")) for override in overrides):
        _require_own_place(file, config)
    return config


def _require_own_place(file: Path, config: RunConfig) -> None:
    here = RunDirectory(file.absolute().parent)
    is_run = file.name == CONFIG_FILE and (here.status.is_file() or here.has_records())
    if is_run and (overrides := place_overrides(here, config)):
        raise ConfigError(
            f"config file {file}: the run here was moved or copied, as its name and runs_dir say "
            f"{run_of(config).path}: add {overrides} to go on with it here, or --new-name to begin another"
        )


def filled_in(config: RunConfig) -> RunConfig:
    """``config`` with what it takes from earlier runs. Raises ``UserError`` for settings that contradict each other."""
    check_rules(config)
    return resolve_config(config)


def opened(config: RunConfig) -> tuple[RunConfig, int | None]:
    """``config``, filled in, whose run may begin or go on; and its number of steps, if it is complete already.

    That a run is complete is noted in its status, if its last process did not get to that. Raises ``UserError``.
    """
    config = filled_in(config)
    check_attempt(config)
    steps = complete_after(config)
    if steps is not None:
        _note_complete(config, steps)
    return config, steps


def _note_complete(config: RunConfig, steps: int) -> None:
    run = run_of(config)
    try:
        found = read_status(run)
    except DataError:  # Said by those who show it.
        return
    if found is None or found.phase is Phase.COMPLETE or found.may_be_at_work():
        return
    file = StatusFile(run, found.attempt, config.trainer.num_steps, found.command)
    file.status = replace(found, step=steps, num_steps=config.trainer.num_steps)
    file.end(Phase.COMPLETE, "the last step is done")
