"""``python -m services.student``: starts the rollout actors of a run on a Ray cluster, and keeps them going."""

from pathlib import Path
from typing import Annotated

import typer

from adaswitch.io.entry import INTERRUPTED, StopRequest, one_line_errors

EXAMPLE = """Example: python -m services.student --config configs/demo.yaml student.num_actors=2"""


def main(
    config: Annotated[Path, typer.Option(help="The run's settings, a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key.path=value.")] = None,
) -> None:
    """Roll prompts out with the student by the run's policy, until the run is over."""
    with one_line_errors():
        from adaswitch.io.config_files import load_config

        settings = load_config(config, overrides or [])

        from adaswitch.config import ReplayPolicyConfig
        from adaswitch.errors import ConfigError
        from adaswitch.io import cluster
        from adaswitch.io.recorded import resolve_config
        from services.student.service import StudentService

        if isinstance(settings.policy, ReplayPolicyConfig):
            raise ConfigError("policy.kind: replay needs no students: start the trainer alone")
        settings = resolve_config(settings)
        cluster.connect(settings, show_actor_logs=True)
        should_stop = StopRequest().install()
        reason = StudentService(settings, should_stop).run()
        print(f"students: {reason}", flush=True)
        if should_stop():
            raise SystemExit(INTERRUPTED)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(epilog=EXAMPLE)(main)
    app()
