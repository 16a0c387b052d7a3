"""``python -m trainer``: the training job, started by itself or submitted with ``ray job submit``."""

import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaswitch.processes.entry import INTERRUPTED, StopRequest, one_line_errors

if TYPE_CHECKING:
    from adaswitch.config.run import RunConfig
    from trainer.loop import Job

STOPPING = "stopping: the trainer saves what was trained; once more ends at once, without saving"
EXAMPLE = """Example: python -m trainer --config configs/demo.yaml trainer.num_steps=20

Or on a cluster: ray job submit --working-dir . -- python -m trainer --config configs/demo.yaml"""


def main(
    config: Annotated[Path, typer.Option(help="A YAML file with the run's settings.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key.path=value.")] = None,
    new_name: Annotated[
        bool, typer.Option("--new-name", help="If a run has the name, begin another: name-2, name-3, ..")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(hidden=True, help="The attempt that a launcher has begun.")
    ] = None,
) -> None:
    """Train the student on what the rollout queue delivers, and publish its weights."""
    with one_line_errors():
        from adaswitch.runs.opening import load_settings

        run_job(load_settings(config, overrides or [], new_name=new_name), attempt)


def run_job(config: "RunConfig", number: int | None = None) -> None:
    """Prepare the job, train, and close the run. ``number`` is the attempt that a launcher has begun, if one has."""
    from adaswitch.preflight import Starts, check_run
    from adaswitch.runs.attempts import begin_attempt, join_attempt
    from adaswitch.runs.opening import filled_in, opened
    from adaswitch.runs.words import TRAINER, complete_words, go_on_command, what_is_saved

    config, steps = opened(config) if number is None else (filled_in(config), None)
    if steps is not None:
        print(complete_words(config, steps), flush=True)
        return
    # Before the imports below, which take many seconds.
    data = check_run(config, Starts.TRAINER, lambda line: print(line, flush=True))
    config = data.models.named_in(config)

    from adaswitch.cluster import actors
    from adaswitch.data.threads import trainer_threads
    from adaswitch.processes.cores import num_cores
    from trainer.job import prepare
    from trainer.loop import is_complete, train
    from trainer.source import RaySource

    should_stop = StopRequest(words=STOPPING)
    if config.policy.needs_students:
        actors.connect(config.ray)
    # Ray installs its own signal handlers when it connects, so ours are installed again.
    should_stop.install()

    def connect() -> RaySource:
        """The queue and the weight board. Students need the job's folder only if it has a user's own code."""
        working_dir = actors.working_dir_of_job() if config.policy.own_code else ""
        return RaySource(actors.rollout_queue(config), actors.weight_board(config), config, working_dir)

    begin = partial(begin_attempt, command=go_on_command(config, TRAINER))
    if number is not None:
        begin = partial(join_attempt, number=number)
    alone = config.policy.needs_students and actors.num_nodes() > 1
    threads = trainer_threads(config, num_cores(), alone=alone)
    job, start = prepare(config, connect, should_stop, begin, data, threads)
    try:
        with _exporting(job):
            done = train(job, start)
    except Exception as error:
        _close_after(job, error)
        raise
    finished = is_complete(job, done)
    reason = "the run is complete" if finished else f"the trainer was stopped after {done} steps"
    job.recorder.close()
    job.source.close(reason)
    if not finished:
        print(f"{reason}: {what_is_saved(job.run)}", flush=True)
        print(f"go on with: {job.status.status.command}", flush=True)
        raise SystemExit(INTERRUPTED)
    print(f"{reason}: {job.run.checkpoint(done)}", flush=True)


def _exporting(job: "Job") -> AbstractContextManager[None]:
    """While it is entered, the figures of the run go to the cluster's metrics board, if the settings say so."""
    # A run without students is on no cluster.
    if job.config.ray.metrics_port is None or not job.config.policy.needs_students:
        return nullcontext()

    from adaswitch.cluster.run_board import RunBoard
    from adaswitch.runs.exported import Report
    from trainer.exporting import Exporting

    source = f"attempt-{job.status.status.attempt}"
    return Exporting(
        connect=lambda: RunBoard(job.config),
        own=lambda: Report("trainer", source, job.recorder.figures.samples(), time.time()),
        say=lambda line: print(line, flush=True),
    )


def _close_after(job: "Job", error: Exception) -> None:
    """Close what ``error`` has ended. What cannot be closed is named beside ``error`` and does not take its place."""
    from adaswitch.last_words import one_line

    for what, close in (
        ("the records", job.recorder.close),
        ("the rollout queue", partial(job.source.close, "the trainer failed")),
    ):
        try:
            close()
        except Exception as other:
            error.add_note(f"{what} could not be closed: {one_line(other)}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(epilog=EXAMPLE)(main)
    app()
