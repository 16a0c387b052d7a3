"""``adaswitch sft``: the student of a config, fine-tuned on the task's own answers before the run."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from adaswitch.commands.progress import follow_local_run
from adaswitch.config.fine_tuning import fine_tuning
from adaswitch.config.run import RunConfig
from adaswitch.errors import EnvironmentProblem
from adaswitch.export.folder import write_model
from adaswitch.preflight.machine import why_not_writable
from adaswitch.runs.attempts import under_new_name
from adaswitch.runs.words import run_of

COMMAND = "adaswitch sft"


def make_student(
    config: RunConfig,
    should_stop: Callable[[], bool],
    command: str,
    say: Callable[[str], None],
    *,
    new_name: bool = False,
) -> bool:
    """Fine-tune ``warm_start.model`` into the folder ``student.model`` of ``config``. Returns whether it is there.

    The fine-tuning is a run of its own, which ``command`` goes on with if it is stopped. The folder is written at its
    end, whole or not at all; if it is there already, nothing is started. With ``new_name`` it begins another run.
    Raises ``UserError``.
    """
    run, target = fine_tuning(config), Path(config.student.model)
    if _is_made(target):
        say(f"{target} is there already (student.model): nothing is started; remove it to have it made again")
        return True
    if (reason := why_not_writable(target)) is not None:
        raise EnvironmentProblem(f"student.model: cannot write to {target}: {reason}; name another folder")
    run = under_new_name(run) if new_name else run
    if not follow_local_run(run, should_stop, command):
        return False
    write_student(run, target)
    say(f"the student is in {target} (student.model)")
    return True


def _is_made(target: Path) -> bool:
    """Whether a model is in ``target``. Raises ``EnvironmentProblem`` if anything else is."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return False
    if (target / "config.json").is_file():
        return True
    raise EnvironmentProblem(
        f"student.model: {target} is there already, and is no model folder: name another folder, or remove it"
    )


def write_student(run: RunConfig, target: Path) -> None:
    """Write the model that the complete fine-tuning ``run`` has trained into the folder ``target``.

    Raises ``StorageError`` if it cannot be written.
    """
    directory = run_of(run)
    write_model(directory, directory.settings(), directory.checkpoint_steps()[-1], target)


def command_line(config: Path, overrides: Sequence[str]) -> str:
    """The command that makes the same student, or goes on with it."""
    return shlex.join([*COMMAND.split(), "--config", str(config), *overrides])
