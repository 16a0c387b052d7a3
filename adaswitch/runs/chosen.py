"""Which checkpoint of a run is meant: the newest whole one, or that of a step that somebody names."""

from dataclasses import dataclass
from pathlib import Path

from adaswitch.errors import DataError
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.seal import damage


@dataclass(frozen=True)
class Chosen:
    """A whole checkpoint of a run."""

    step: int
    """The number of updates that its weights have had."""
    folder: Path
    notes: tuple[str, ...] = ()
    """A line for each newer checkpoint that was passed over, because it is damaged."""


def choose_checkpoint(run: RunDirectory, step: int | None = None) -> Chosen:
    """The checkpoint of ``run`` after ``step`` updates; without ``step`` the newest that is whole.

    Raises ``DataError`` if there is none, or if the one of ``step`` is damaged.
    """
    steps = run.checkpoint_steps()
    if not steps:
        raise DataError(
            "the run has no checkpoint yet: let it go on until it saves one (trainer.checkpoint_every, or its end)",
            source=str(run.path),
        )
    if step is not None:
        return _of_step(run, step, steps)
    notes: list[str] = []
    for number in reversed(steps):
        reason = damage(run.checkpoint(number))
        if reason is None:
            return Chosen(number, run.checkpoint(number), tuple(notes))
        notes.append(f"the checkpoint {run.checkpoint(number)} is damaged and passed over: {reason}")
    raise DataError(
        f"no checkpoint here is whole; {notes[0]}: put a copy of one back, or let the run go on",
        source=str(run.checkpoints),
    )


def _of_step(run: RunDirectory, step: int, steps: list[int]) -> Chosen:
    folder = run.checkpoint(step)
    if step not in steps:
        there = ", ".join(map(str, steps))
        raise DataError(
            f"there is no checkpoint of step {step}; there are those of steps {there} (trainer.keep_checkpoints keeps "
            "more)",
            source=str(run.checkpoints),
        )
    if (reason := damage(folder)) is not None:
        raise DataError(f"the checkpoint is damaged: {reason}: take another step", source=str(folder))
    return Chosen(step, folder)
