"""How an attempt ends: what was trained is saved whatever happens, and what is saved is said."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adaswitch.errors import AdaSwitchError
from adaswitch.last_words import one_line
from adaswitch.runs.status import Phase, StatusFile
from adaswitch.runs.words import NOT_SAVED, what_is_saved
from trainer.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from trainer.loop import Job


def checkpoint(job: "Job", step: int) -> None:
    """Save all that is needed to go on from ``step``. Before the first update there is nothing to save.

    Raises ``AdaSwitchError`` for weights from which nothing can go on, and keeps the checkpoints before.
    """
    if step == 0:
        return
    before = job.status.status.phase
    job.status.enter(Phase.SAVING, step)
    if not job.learner.is_whole:
        raise AdaSwitchError("the last update was broken off, so that its weights are worth nothing")
    save_checkpoint(job.run, step, job.learner, job.tokenizer, job.config.trainer.keep_checkpoints)
    job.status.enter(before, step)


@contextmanager
def noting_failure(status: StatusFile) -> Iterator[None]:
    """Note in ``status`` an error that ends the attempt, and how to go on, in a note to the error."""
    try:
        yield
    except Exception as error:
        status.end(Phase.FAILED, one_line(error))
        error.add_note(f"go on with: {status.status.command}")
        raise


@contextmanager
def saving_on_failure(job: "Job") -> Iterator[None]:
    """If an error ends the attempt, save the weights as they are after the last update.

    Notes to the error say what is saved, and, where saving failed too, why it failed.
    """
    with noting_failure(job.status):
        try:
            yield
        except Exception as error:
            # A failed checkpoint is not tried again.
            if job.status.status.phase is not Phase.SAVING:
                _save(job, error)
            error.add_note(what_is_saved(job.run))
            raise


def _save(job: "Job", error: Exception) -> None:
    during, step = job.status.status.phase, job.status.status.step
    try:
        checkpoint(job, step)
    except Exception as second:
        error.add_note(f"{NOT_SAVED}{one_line(second)}")
    job.status.enter(during, step)
