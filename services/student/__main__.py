"""``python -m services.student``: starts rollout actors on a Ray cluster, for one run or for every run there."""

import time
from pathlib import Path
from typing import Annotated

import typer

from adaswitch.processes.entry import INTERRUPTED, StopRequest, one_line_errors

EXAMPLE = """Example: python -m services.student --config configs/demo.yaml student.num_actors=2

For every run that is begun on the cluster, on this node alone: python -m services.student --here"""
LOOK_EVERY_S = 1.0


def main(
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML file with one run's settings. Without it, every run is served."),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key.path=value.")] = None,
    here: Annotated[
        bool, typer.Option("--here", help="Start student.num_actors actors per run on this node only.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="A file that is written once the cluster is joined.")
    ] = None,
) -> None:
    """Roll out prompts with the student by the run's policy, until the run is over or the service is stopped."""
    with one_line_errors():
        if config is None:
            _serve_all_runs(overrides or [], here, ready_file)
        else:
            _serve_one_run(config, overrides or [], here)


def _serve_one_run(config: Path, overrides: list[str], here: bool) -> None:
    from adaswitch.runs.config_files import load_config

    settings = load_config(config, overrides)

    from adaswitch.cluster import actors
    from adaswitch.errors import ConfigError
    from adaswitch.preflight import check_students
    from adaswitch.runs.attempts import complete_after
    from adaswitch.runs.recorded import resolve_config
    from adaswitch.runs.words import complete_words
    from services.student.service import StudentService

    if not settings.policy.needs_students:
        raise ConfigError(f"policy.kind: {settings.policy.name} needs no students: start the trainer alone")
    settings = resolve_config(settings)
    if (steps := complete_after(settings)) is not None:
        print(complete_words(settings, steps), flush=True)
        return
    check_students(settings, lambda line: print(line, flush=True))
    actors.connect(settings.ray, show_actor_logs=True)
    should_stop = StopRequest().install()
    queue, board = actors.rollout_queue(settings), actors.weight_board(settings)
    node = actors.this_node() if here else None
    reason = StudentService(settings, queue, board, should_stop, node).run()
    print(f"students: {reason}", flush=True)
    if should_stop():
        raise SystemExit(INTERRUPTED)


def _serve_all_runs(overrides: list[str], here: bool, ready_file: Path | None) -> None:
    """Serve all runs until a signal. The signal ends the service without an error, as it has nothing to complete."""
    from adaswitch.cluster import actors
    from adaswitch.config.cluster import RayConfig
    from adaswitch.errors import ConfigError, EnvironmentProblem
    from services.student.host import RayRuns, StudentHost

    if overrides:
        raise ConfigError(f"{overrides[0]}: overrides change what --config FILE says; give one")
    ray_config = RayConfig()
    actors.connect(ray_config, show_actor_logs=True)
    should_stop = StopRequest(patient=True).install()
    node = actors.this_node()
    host = StudentHost(RayRuns(node if here else None), lambda line: print(line, flush=True))
    where = "on this node" if here else "on the cluster"
    print(f"students: ready {where} for every run in namespace {ray_config.namespace}", flush=True)
    if ready_file is not None:
        ready_file.touch()
    try:
        while not should_stop():
            if not actors.is_alive(node):
                raise EnvironmentProblem("Ray has lost this node; start the service again where it has one")
            host.look()
            time.sleep(LOOK_EVERY_S)
    finally:
        host.close()


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(epilog=EXAMPLE)(main)
    app()
