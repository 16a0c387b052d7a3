"""The end of a complete run: the trained model goes into ``final/``, for others to load and to read about."""

from typing import TYPE_CHECKING

from adaswitch.errors import UserError
from adaswitch.export.folder import write_model
from adaswitch.last_words import one_line

if TYPE_CHECKING:
    from trainer.loop import Job


def write_final(job: "Job", step: int) -> None:
    """Write the model after ``step`` updates, which is in a checkpoint already, into the run's ``final/``.

    If that cannot be done, it is said with the command that does it later: the run is complete all the same.
    """
    try:
        write_model(job.run, job.config, step, job.run.final)
    except UserError as error:
        print(
            f"warning: {one_line(error)}; the trained model is in {job.run.checkpoint(step)}, and "
            f"`adaswitch export {job.run.path} --to DIR` writes it into a folder of its own",
            flush=True,
        )
        job.recorder.complete(None)
        return
    print(f"the trained model is in {job.run.final}; talk to it: adaswitch chat {job.run.path}", flush=True)
    job.recorder.complete(job.run.final)
