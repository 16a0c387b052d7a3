"""Attempts at a run: every start of ``adaswitch run``, of a submitted job or of ``run_locally`` is one.

An attempt goes on from the newest checkpoint. Its settings, its environment and its logs are kept in
``attempts/N/``. Before an attempt begins, ``check_attempt`` and ``complete_after`` say whether it may begin, and
whether there is anything left to do.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError, EnvironmentProblem
from adaswitch.runs.changes import require_same_settings
from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import CONFIG_FILE, NUMBER, RunDirectory, read_records
from adaswitch.runs.environment import keep_environment
from adaswitch.runs.seal import damage
from adaswitch.runs.status import Status, StatusFile, read_status
from adaswitch.runs.words import RUN, go_on_command, run_of


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run: its folder with settings and logs, and the run's status."""

    run: RunDirectory
    number: int
    status: StatusFile
    changes: tuple[str, ...]
    """What was set otherwise in the attempt before, for people."""

    @property
    def folder(self) -> Path:
        """The folder of the attempt's settings and logs."""
        return self.run.attempts / str(self.number)

    @property
    def config(self) -> Path:
        """The file with every setting of the attempt."""
        return self.folder / CONFIG_FILE


def check_attempt(config: RunConfig) -> list[str]:
    """Check that ``config`` may begin its run, or go on with it. Returns what has changed since the last attempt.

    Raises ``UserError`` if another process is at work on the run, if the run was begun with other settings, or if it
    was begun at all and ``trainer.resume`` is false. A run that has left no record may be begun anew with any settings.
    """
    run = run_of(config)
    _require_alone(run)
    if not run.has_records():
        return []
    if not config.trainer.resume:
        raise ConfigError(
            f"trainer.resume: {run.path} holds a run, and with false none is gone on with: begin another, with "
            "--new-name or another name, or set trainer.resume=true"
        )
    return require_same_settings(run, config)


def _require_alone(run: RunDirectory) -> None:
    status = _status_if_readable(run)
    if status is None or status.pid == os.getpid():
        return
    if status.is_at_work_here():
        raise EnvironmentProblem(
            f"{run.path}: process {status.pid} is at work on this run ({status.phase}): wait for its end or stop "
            "it, or begin another run with --new-name or another name"
        )


def _status_if_readable(run: RunDirectory) -> Status | None:
    """The run's status. A damaged one is about to be written anew, and counts as none."""
    try:
        return read_status(run)
    except DataError:
        return None


def complete_after(config: RunConfig) -> int | None:
    """The number of steps after which the run of ``config`` is complete already; None if there is more to do.

    A run is complete with its last step or its time, a whole checkpoint after it, and the last evaluation on record.
    """
    run = run_of(config)
    steps = run.checkpoint_steps()
    try:
        if not steps or not _is_long_enough(run, config, steps[-1]):
            return None
        evaluated = {record["step"] for record in _numbers(run.evals, "step")}
    except DataError:  # The trainer says what is damaged, and mends what it can.
        return None
    wants_marks = config.trainer.eval_every and config.task.has_held_out
    if (wants_marks and steps[-1] not in evaluated) or damage(run.checkpoint(steps[-1])) is not None:
        return None
    return steps[-1]


def _is_long_enough(run: RunDirectory, config: RunConfig, step: int) -> bool:
    if step >= config.trainer.num_steps:
        return True
    if config.trainer.time_limit_s is None:
        return False
    records = _numbers(run.metrics, "step", "step_s")
    return sum(record["step_s"] for record in records if record["step"] < step) >= config.trainer.time_limit_s


def _numbers(path: Path, *names: str) -> list[dict[str, float]]:
    return list(read_records(path, dict.fromkeys(names, NUMBER)))


def begin_attempt(config: RunConfig, command: str | None = None) -> Attempt:
    """Begin the next attempt at the run of ``config``, after ``check_attempt``. ``config.yaml`` is written anew.

    ``command`` is what goes on with the run, for people; by default it is ``adaswitch run``.
    """
    changes = check_attempt(config)
    run = RunDirectory.create(config)
    command = command or go_on_command(config, RUN)
    try:
        number = _next_number(run)
        (run.attempts / str(number)).mkdir(parents=True)
        _link_logs(run, number)
        status = StatusFile(run, number, config.trainer.num_steps, command)
        attempt = Attempt(run, number, status, tuple(changes))
        write_config(config, attempt.config)
        keep_environment(attempt.folder)
    except OSError as error:
        raise EnvironmentProblem(f"runs_dir: cannot write to {run.path}: {error.strerror}") from None
    status.write()
    return attempt


def join_attempt(config: RunConfig, number: int) -> Attempt:
    """The attempt that a launcher has begun, in this process, which works on it from here on."""
    run = run_of(config)
    status = StatusFile(run, number, config.trainer.num_steps, go_on_command(config, RUN))
    status.take_over()
    return Attempt(run, number, status, ())


def _next_number(run: RunDirectory) -> int:
    if not run.attempts.is_dir():
        return 2 if _keep_older_logs(run) else 1
    numbers = [int(path.name) for path in run.attempts.iterdir() if path.name.isdigit()]
    return max(numbers, default=0) + 1


def _keep_older_logs(run: RunDirectory) -> bool:
    """Move the logs of a run of an older version to where those of its first attempt belong. False without any."""
    logs = run.path / "logs"
    if logs.is_symlink() or not logs.is_dir():
        return False
    run.attempts.mkdir()
    os.replace(logs, run.attempts / "1")
    return True


def _link_logs(run: RunDirectory, number: int) -> None:
    """Let ``logs`` be the newest attempt's folder. It is for people alone, and some file systems have no links."""
    link = run.path / "logs"
    with contextlib.suppress(OSError):
        link.unlink(missing_ok=True)
        link.symlink_to(Path("attempts", str(number)), target_is_directory=True)


def unused_name(config: RunConfig) -> str:
    """The config's name, or the first of ``name-2``, ``name-3``, .. that no run has."""
    taken = Path(config.runs_dir)
    number = 1
    name = config.name
    while (taken / name).exists():
        number += 1
        name = f"{config.name}-{number}"
    return name


def under_new_name(config: RunConfig) -> RunConfig:
    """``config`` under a name that no run has."""
    return config.model_copy(update={"name": unused_name(config)})
