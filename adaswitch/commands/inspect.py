"""``adaswitch inspect``: rollouts in colour, with their marks, and divergence and threshold at each token."""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from adaswitch.errors import DataError
from adaswitch.method.rollout import Rollout
from adaswitch.runs.answers import Answer, AnswerMarker
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.kept import load_kept_tokenizer
from adaswitch.runs.recorded import shards_by_step, why_missing
from adaswitch.runs.shards import read_shard

STUDENT_STYLE = "cyan"
TEACHER_STYLE = "green"
SWITCH_STYLE = "bold black on yellow"
MARK_STYLES = {True: "bold green", False: "bold red", None: "bold"}
MAX_ROWS = 48
"""The largest number of tokens whose figures are shown one by one. Later tokens are shown in the text alone."""
MAX_TOKEN_WIDTH = 24
"""The largest width of a token in the table, in columns: with it the table fits a terminal of 80 columns."""
MAX_REFERENCE_CHARACTERS = 400


def show_rollouts(path: Path, step: int | None, num: int, switched_only: bool, console: Console) -> None:
    """Print ``num`` rollouts of one step of the run at ``path``. Without ``step`` it is the last step."""
    run = RunDirectory.open(path)
    shard = _shard(run, step)
    rollouts = [r for r in read_shard(shard) if r.switch_position is not None or not switched_only]
    if not rollouts:
        raise DataError("no rollout of this step switched; leave out --switched", source=str(shard))
    config = run.settings()
    tokenizer = load_kept_tokenizer(run, config)
    marker = AnswerMarker(run, config, tokenizer)
    console.print(
        Text.assemble(
            f"{shard.stem}, {len(rollouts)} rollouts   ",
            ("student", STUDENT_STYLE),
            "  ",
            ("switch", SWITCH_STYLE),
            "  ",
            ("teacher", TEACHER_STYLE),
        )
    )
    if marker.problem:
        console.print(Text(f"answers are not marked: {marker.problem}", style="yellow"))
    for rollout in rollouts[:num]:
        answer = None if marker.problem else marker.answer_of(rollout)
        console.print(rollout_panel(rollout, lambda ids: str(tokenizer.decode(list(ids))), answer))


def _shard(run: RunDirectory, step: int | None) -> Path:
    shards = shards_by_step(run)
    if not shards:
        raise DataError(
            "no rollouts are kept here; train with trainer.save_rollouts=true", source=str(run.rollouts)
        )
    wanted = max(shards) if step is None else step
    if wanted not in shards:
        raise DataError(
            f"no rollouts of step {wanted}; there are steps {min(shards)} to {max(shards)}{why_missing(run)}",
            source=str(run.rollouts),
        )
    return shards[wanted]


def rollout_panel(
    rollout: Rollout, decode: Callable[[Sequence[int]], str], answer: Answer | None = None
) -> Panel:
    """One rollout: its text in colours, its mark, and token by token the divergences that the switch rule saw.

    Without an ``answer`` nothing is said of marks.
    """
    position = rollout.switch_position
    where = "never switched" if position is None else f"switched at token {position}"
    facts = f"{rollout.num_tokens} tokens · {where} · weights {rollout.weights_version} · ended by {rollout.ending}"
    body = Table.grid(padding=(1, 0))
    body.add_column(overflow="fold")
    body.add_row(Text(facts, style="dim"))
    body.add_row(_text(rollout, decode))
    if answer is not None:
        body.add_row(_marked(answer))
    if rollout.divergences:
        body.add_row(_watched(rollout, decode))
    return Panel(body, title=f"prompt {rollout.prompt.id}", title_align="left", border_style="dim")


def _marked(answer: Answer) -> Text:
    """The mark, and the reference that the answer was marked with."""
    text = Text(answer.words, style=MARK_STYLES[answer.is_right])
    if answer.reference:
        cut = answer.reference[:MAX_REFERENCE_CHARACTERS]
        more = "…" if len(cut) < len(answer.reference) else ""
        text.append(f"   reference: {cut}{more}", style="not bold default dim")
    return text


def _text(rollout: Rollout, decode: Callable[[Sequence[int]], str]) -> Text:
    """Prompt and completion, each part in the colour of its writer, with a mark wherever the teacher takes over."""
    text = Text()
    text.append(decode(rollout.prompt.token_ids) + " ", style="dim")
    place = 0
    for by_teacher, stretch in groupby(rollout.by_teacher.tolist()):
        end = place + len(list(stretch))
        if by_teacher:
            text.append("▸", style=SWITCH_STYLE)
        written = decode(rollout.completion_token_ids[place:end])
        text.append(written, style=TEACHER_STYLE if by_teacher else STUDENT_STYLE)
        place = end
    return text


def _watched(rollout: Rollout, decode: Callable[[Sequence[int]], str]) -> Table:
    """A row for each token: its divergence as a number and a bar, and the threshold that it was compared with."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("token", "", "divergence", "threshold", ""):
        table.add_column(
            header,
            justify="left" if header in ("token", "") else "right",
            no_wrap=True,
            overflow="ellipsis",
            max_width=MAX_TOKEN_WIDTH,
        )
    largest = max(rollout.divergences) or 1.0
    for i, (divergence, threshold) in enumerate(
        zip(rollout.divergences[:MAX_ROWS], rollout.thresholds[:MAX_ROWS], strict=True)
    ):
        crossed = divergence > threshold
        table.add_row(
            str(i),
            Text(repr(decode(rollout.completion_token_ids[i : i + 1])), style=_style(rollout, i, crossed)),
            f"{divergence:.3f}",
            "-" if threshold == float("inf") else f"{threshold:.3f}",
            Text(
                _bar(divergence / largest) + ("  ▸ switch" if crossed else ""),
                style=_style(rollout, i, crossed),
            ),
        )
    if len(rollout.divergences) > MAX_ROWS:
        table.add_row("…", f"{len(rollout.divergences) - MAX_ROWS} more")
    return table


def _style(rollout: Rollout, index: int, crossed: bool) -> str:
    if crossed:
        return SWITCH_STYLE
    return TEACHER_STYLE if rollout.by_teacher[index] else STUDENT_STYLE


def _bar(share: float) -> str:
    """A share from 0 to 1 as a bar of up to ten cells."""
    eighths = round(share * 80)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
