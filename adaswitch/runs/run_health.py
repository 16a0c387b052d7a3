"""``adaswitch doctor RUN``: what a run came to, and which of the known failure signatures it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.health import Signature, not_judged, signatures
from adaswitch.method.trend import rate_trend
from adaswitch.runs.conclusion import conclusion, gain_of
from adaswitch.runs.directory import NUMBER_OR_NONE, Fields, RunDirectory, read_records
from adaswitch.runs.summary import EVAL_FIELDS
from adaswitch.runs.waits import WAIT_FIELDS, who_waited

HEALTH_FIELDS: Fields = dict.fromkeys(
    (
        "switch_rate",
        "mean_switch_position",
        "late_switch_rate",
        "late_switch_rate_at_random",
        "could_switch_rate",
        "closest_to_threshold",
        "mean_completion_tokens",
        "mean_divergence",
        "divergence_tail",
        "mean_teacher_entropy_exploration",
        "mean_teacher_entropy_guidance",
    ),
    NUMBER_OR_NONE,
)
"""The fields on which the signatures rest. Records of older runs lack some of them."""
CPU_BLOCK_SIZE = 32
"""What ``teacher.serve.kv_block_size`` is on CPU if nothing is said."""
NO_STEP = "this run has not done a step yet"


@dataclass(frozen=True)
class CheckUp:
    """What the records of a run say of its health."""

    found: list[Signature]
    """What the switch and the sizes show, faults first."""
    unknown: str | None
    """Why the switch cannot be judged, if it cannot."""
    waits: Signature | None
    """Who waited for whom; None if that cannot be said."""
    conclusion: list[str]
    """What the run came to, in sentences."""


def check_run(path: Path) -> CheckUp:
    """The health of the run at ``path``. Raises ``DataError`` if it has not done a step, or for a damaged record."""
    run = RunDirectory.open(path)
    steps = read_steps(run)
    if not steps:
        raise DataError(NO_STEP, source=str(path))
    return check_steps(run, steps)


def read_steps(run: RunDirectory) -> list[dict[str, Any]]:
    """The records of all steps of ``run``. Raises ``DataError`` for a damaged record."""
    return list(read_records(run.metrics, {**HEALTH_FIELDS, **WAIT_FIELDS}))


def check_steps(run: RunDirectory, steps: Sequence[dict[str, Any]]) -> CheckUp:
    """The health of ``run``, whose ``steps`` were read. Raises ``DataError`` for a damaged record of an evaluation."""
    return examine(run.settings(), steps, list(read_records(run.evals, EVAL_FIELDS)))


def examine(
    config: RunConfig, steps: Sequence[Mapping[str, Any]], evals: Sequence[dict[str, Any]]
) -> CheckUp:
    """What ``steps``, all of a run's, and its ``evals`` say of the health of a run with the settings ``config``."""
    found, unknown = _switching(config, steps, evals)
    found = sorted(found + chunks_without_prefix(config), key=lambda signature: not signature.is_fault)
    return CheckUp(found, unknown, who_waited(config, steps), conclusion(steps, evals, found, unknown))


def _switching(
    config: RunConfig, steps: Sequence[Mapping[str, Any]], evals: Sequence[dict[str, Any]]
) -> tuple[list[Signature], str | None]:
    """What is found of the switch, and why it cannot be judged, if it cannot."""
    if not steps:
        return [], NO_STEP
    try:
        found = signatures(config.policy, steps, gain_of(evals))
        trend = rate_trend(config.policy, steps)
        unknown = not_judged(config.policy, steps)
    except ConfigError as error:  # a user's own policy, which is not here
        return [], str(error)
    if trend is not None:  # It says more of the rate than that it is high.
        found = [signature for signature in found if signature.is_fault] + [trend]
    return found, unknown


def chunks_without_prefix(config: RunConfig) -> list[Signature]:
    """One signature if the teacher's cache finds little of what stands before a chunk, and so computes it once more.

    Of the tokens before a chunk, on average half a block is not found. That counts once it is more than the chunk.
    """
    serve, chunk = config.teacher.serve, getattr(config.policy, "chunk_size", None)
    if serve is None or serve.engine != "vllm" or not isinstance(chunk, int):
        return []
    block = serve.kv_block_size or CPU_BLOCK_SIZE
    if block <= 2 * chunk or chunk >= config.student.max_new_tokens:
        return []
    default = "" if serve.kv_block_size else " (the default on CPU)"
    smaller = f"set teacher.serve.kv_block_size to {CPU_BLOCK_SIZE}, or " if block > CPU_BLOCK_SIZE else ""
    return [
        Signature(
            "chunks shorter than the cache's blocks",
            f"policy.chunk_size is {chunk} and teacher.serve.kv_block_size {block}{default}: only whole blocks are "
            f"found again, so for a chunk the teacher computes some {block // 2} tokens once more",
            f"{smaller}raise policy.chunk_size to {(block + 1) // 2} or more",
        )
    ]


def render(check_up: CheckUp, console: Console) -> None:
    """Print what the run came to, then each finding with its figures and what to try, then who waited for whom."""
    print_conclusion(check_up.conclusion, console)
    if check_up.unknown is not None:
        console.print(Text(f"Nothing can be said of the switch: {check_up.unknown}.", style="bold"))
    elif not any(signature.is_fault for signature in check_up.found):
        console.print(Text("No sign of trouble with the switch.", style="bold green"))
    print_signatures(check_up.found, console)
    if check_up.waits is not None:
        print_signatures([check_up.waits], console)


def print_conclusion(sentences: Sequence[str], console: Console) -> None:
    """Print what a run came to, a sentence a line."""
    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=True)


def print_signatures(found: Sequence[Signature], console: Console) -> None:
    """Print each signature of ``found`` with its figures and what to try."""
    for signature in found:
        text = Text(signature.name, style="bold yellow" if signature.is_fault else "bold cyan")
        text.append(f"\n  {signature.evidence}", style="not bold default")
        text.append(f"\n  -> {signature.advice}", style="bold default")
        console.print(text)
