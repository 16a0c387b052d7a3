"""``adaswitch doctor RUN``: which of the known failure signatures a run shows."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.health import Signature, not_judged, signatures
from adaswitch.runs.directory import NUMBER_OR_NONE, Fields, RunDirectory, read_records
from adaswitch.runs.waits import WAIT_FIELDS, who_waited

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
CPU_BLOCK_SIZE = 32
"""What ``teacher.serve.kv_block_size`` is on CPU if nothing is said."""


def waits_of(path: Path) -> Signature | None:
    """Who waited for whom in the run at ``path``; None if that cannot be said. Raises ``DataError`` if damaged."""
    run = RunDirectory.open(path)
    return who_waited(run.settings(), list(read_records(run.metrics, WAIT_FIELDS)))


def check_run(path: Path) -> tuple[list[Signature], str | None]:
    """The signatures in the run at ``path`` and its newest steps, or the reason why the switch cannot be judged.

    Raises ``DataError`` if the run has not done a step, or for a damaged record.
    """
    run = RunDirectory.open(path)
    steps = list(read_records(run.metrics, HEALTH_FIELDS))
    if not steps:
        raise DataError("this run has not done a step yet", source=str(path))
    config = run.settings()
    sizes = chunks_without_prefix(config)
    try:
        return signatures(config.policy, steps) + sizes, not_judged(config.policy, steps)
    except ConfigError as error:  # a user's own policy, which is not here
        return sizes, f"{error}"


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
