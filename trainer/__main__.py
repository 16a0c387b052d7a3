"""``python -m trainer``: the training job, started by itself or submitted with ``ray job submit``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaswitch.processes.entry import INTERRUPTED, StopRequest, one_line_errors

if TYPE_CHECKING:
    from adaswitch.config.run import RunConfig

EXAMPLE = """Example: python -m trainer --config configs/demo.yaml trainer.num_steps=20

Or on a cluster: ray job submit --working-dir . -- python -m trainer --config configs/demo.yaml"""


def main(
    config: Annotated[Path, typer.Option(help="A YAML file with the run's settings.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key.path=value.")] = None,
) -> None:
    """Train the student on what the rollout queue delivers, and publish its weights."""
    with one_line_errors():
        from adaswitch.runs.config_files import load_config

        run_job(load_config(config, overrides or []))


def run_job(config: "RunConfig") -> None:
    """Prepare the job, train, and close the run."""
    from adaswitch.cluster import actors
    from adaswitch.config.run import check_rules
    from adaswitch.method.policies.replay import Replay
    from adaswitch.runs.recorded import resolve_config
    from trainer.job import prepare
    from trainer.loop import is_complete, train
    from trainer.source import RaySource

    check_rules(config)
    config = resolve_config(config)
    should_stop = StopRequest()
    if not isinstance(config.policy, Replay):
        actors.connect(config.ray)
    # Ray installs its own signal handlers when it connects, so ours are installed again.
    should_stop.install()
    job, start = prepare(
        config,
        lambda: RaySource(
            actors.rollout_queue(config),
            actors.weight_board(config),
            config,
            # Students need the job's folder only if it has a user's own code.
            actors.working_dir_of_job() if config.policy.own_code else "",
        ),
        should_stop,
    )
    reason = "the trainer failed"
    try:
        done = train(job, start)
        finished = is_complete(job, done)
        reason = "the run is complete" if finished else f"the trainer was stopped after {done} steps"
    finally:
        job.recorder.close()
        job.source.close(reason)
    print(f"{reason}: {job.run.checkpoint(done)}", flush=True)
    if not finished:
        raise SystemExit(INTERRUPTED)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(epilog=EXAMPLE)(main)
    app()
