"""``adaswitch doctor RUN``: which of the known failure signatures a run shows."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from adaswitch.errors import ConfigError, DataError
from adaswitch.method.health import Signature, not_judged, signatures
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import NUMBER_OR_NONE, Fields, RunDirectory, read_records

HEALTH_FIELDS: Fields = dict.fromkeys(
    (
        "switch_rate",
        "mean_switch_position",
        "mean_completion_tokens",
        "mean_divergence",
        "mean_teacher_entropy_exploration",
        "mean_teacher_entropy_guidance",
    ),
    NUMBER_OR_NONE,
)
"""The fields on which the signatures rest. Records of older runs lack some of them."""


def check_run(path: Path) -> tuple[list[Signature], str | None]:
    """The signatures in the newest steps of the run at ``path``, or the reason why the switch cannot be judged.

    Raises ``DataError`` if the run has not done a step, or for a damaged record.
    """
    run = RunDirectory.open(path)
    steps = list(read_records(run.metrics, HEALTH_FIELDS))
    if not steps:
        raise DataError("this run has not done a step yet", source=str(path))
    policy = load_config(run.path / "config.yaml").policy
    try:
        return signatures(policy, steps), not_judged(policy, steps)
    except ConfigError as error:  # a user's own policy, which is not here
        return [], f"{error}"


def render(found: list[Signature], unknown: str | None, console: Console) -> None:
    """Print each signature with its figures and what to try, or ``unknown``: why the switch cannot be judged."""
    if unknown is not None:
        console.print(Text(f"Nothing can be said of the switch: {unknown}.", style="bold"))
    elif not found:
        console.print(Text("No sign of trouble with the switch.", style="bold green"))
    print_signatures(found, console)


def print_signatures(found: list[Signature], console: Console) -> None:
    """Print each signature of ``found`` with its figures and what to try."""
    for signature in found:
        text = Text(signature.name, style="bold yellow")
        text.append(f"\n  {signature.evidence}", style="not bold default")
        text.append(f"\n  -> {signature.advice}", style="bold default")
        console.print(text)
