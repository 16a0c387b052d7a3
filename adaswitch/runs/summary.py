"""The summary of a run, from its run directory: marks before and after, switching, tokens, time."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from adaswitch.runs.directory import NUMBER, NUMBER_OR_NONE, TEXT, Fields, RunDirectory, read_records
from adaswitch.runs.figures import FIGURES
from adaswitch.tasks.scores import ALL_SPLITS, MAIN_SPLIT

TOKEN_NAMES = {
    name: ("  " if name == "wasted_tokens" else "") + FIGURES[name].words
    for name in ("student_tokens", "wasted_tokens", "scored_tokens", "teacher_tokens")
}
"""The wasted tokens are a part of those before."""
PHASE_NAMES = {name: FIGURES[name].words for name in ("wait_s", "update_s", "publish_s")}
ROLLOUT_NAMES = {name: FIGURES[name].words for name in ("write_s", "score_s", "generate_s")}

STEP_FIELDS: Fields = {
    **dict.fromkeys(("loss", "switch_rate", *TOKEN_NAMES, *PHASE_NAMES, *ROLLOUT_NAMES), NUMBER),
    **dict.fromkeys(("mean_switch_position", "late_switch_rate"), NUMBER_OR_NONE),
}
MARK_FIELDS: Fields = {
    "step": NUMBER,
    "split": TEXT,
    "metric": TEXT,
    "value": NUMBER_OR_NONE,
    "n": NUMBER,
}
"""The fields of ``eval.jsonl`` that say what was marked, and how."""
EVAL_FIELDS: Fields = {**MARK_FIELDS, "unmarked": NUMBER_OR_NONE, "eval_s": NUMBER}
"""All fields that a summary needs. Records of older runs lack ``unmarked``."""


@dataclass(frozen=True)
class Summary:
    """The figures of a run. Rates and positions are means over the first tenth and over the last tenth of its steps."""

    num_steps: int
    evals: list[dict[str, Any]]
    loss: tuple[float, float]
    switch_rate: tuple[float, float]
    switch_position: tuple[float | None, float | None]
    late_switch_rate: tuple[float | None, float | None]
    """See ``adaswitch.method.damage``; None where it is not on record, as in older runs."""
    tokens: dict[str, int]
    seconds: dict[str, float]
    rollout_seconds: dict[str, float]


def summarise(run: RunDirectory, until: int | None = None) -> Summary | None:
    """The figures of ``run``, or of its first ``until`` steps; None if the run has not done a step.

    Raises ``DataError`` for a damaged record.
    """
    metrics = list(read_records(run.metrics, STEP_FIELDS))[:until]
    evals = [
        record for record in read_records(run.evals, EVAL_FIELDS) if until is None or record["step"] <= until
    ]
    return summary_of(metrics, evals) if metrics else None


def summary_of(metrics: Sequence[dict[str, Any]], evals: Sequence[dict[str, Any]]) -> Summary:
    """The figures that follow from the records of one or more steps, and of evaluations."""
    tenth = max(1, len(metrics) // 10)
    first, last = metrics[:tenth], metrics[len(metrics) - tenth :]
    return Summary(
        num_steps=len(metrics),
        evals=list(evals),
        loss=(_mean(first, "loss") or 0.0, _mean(last, "loss") or 0.0),
        switch_rate=(_mean(first, "switch_rate") or 0.0, _mean(last, "switch_rate") or 0.0),
        switch_position=(_mean(first, "mean_switch_position"), _mean(last, "mean_switch_position")),
        late_switch_rate=(_mean(first, "late_switch_rate"), _mean(last, "late_switch_rate")),
        tokens={name: sum(record[name] for record in metrics) for name in TOKEN_NAMES},
        seconds={name: sum(record[name] for record in metrics) for name in PHASE_NAMES}
        | {"eval_s": _eval_seconds(evals)},
        rollout_seconds={name: _mean(metrics, name) or 0.0 for name in ROLLOUT_NAMES},
    )


def _eval_seconds(evals: Sequence[dict[str, Any]]) -> float:
    """The seconds of all evaluations. Each evaluation counts once, however many splits and metrics it has."""
    return float(sum({record["step"]: record["eval_s"] for record in evals}.values()))


def _mean(records: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [record[name] for record in records if record.get(name) is not None]
    return fmean(values) if values else None


def print_summary(
    run: RunDirectory, summary: Summary, start_seconds: dict[str, float], console: Console
) -> None:
    """Print the figures for people. ``start_seconds`` are the seconds that each service took to be ready, by name."""
    tables = [_results(summary), _times(summary, start_seconds)]
    if _has_writers(summary):
        tables.insert(1, _tokens(summary))
    console.print(Group(*(part for table in tables for part in (Text(), table))))
    for note in run.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nrun directory: [bold]{run.path}[/bold]", highlight=False, soft_wrap=True)
    console.print(_rollouts_on_disk(run), highlight=False, soft_wrap=True)


def _has_writers(summary: Summary) -> bool:
    """Whether a student or a teacher had anything to do; neither has where the data set's answers are trained on."""
    return any(summary.tokens.values())


def _rollouts_on_disk(run: RunDirectory) -> str:
    """What the kept rollouts take, and how to look at them; or why there are none."""
    shards = run.shards()
    if not shards:
        return "no rollouts are kept (trainer.save_rollouts)"
    mib = sum(shard.stat().st_size for shard in shards) / 2**20
    steps = "1 step" if len(shards) == 1 else f"{len(shards)} steps"
    return (
        f"rollouts of {steps} take {mib:,.1f} MiB (trainer.save_rollouts keeps fewer); look at them: "
        f"adaswitch inspect {run.path}"
    )


def _results(summary: Summary) -> Table:
    table = _table("result", "before", "after")
    for label, before, after in eval_rows(summary.evals):
        value_before = None if before is None else before.get("value")
        table.add_row(
            escape(label), _share(value_before), f"[bold green]{_share(after.get('value'))}[/bold green]"
        )
    table.add_row(FIGURES["loss"].label, *(f"{value:.3f}" for value in summary.loss))
    if not _has_writers(summary):
        return table
    table.add_row(FIGURES["switch_rate"].label, *(f"{value:.0%}" for value in summary.switch_rate))
    table.add_row(
        FIGURES["mean_switch_position"].label,
        *("-" if value is None else f"{value:.1f}" for value in summary.switch_position),
    )
    if summary.late_switch_rate[1] is not None:
        shares = ("-" if value is None else f"{value:.0%}" for value in summary.late_switch_rate)
        table.add_row(FIGURES["late_switch_rate"].label, *shares)
    return table


EvalRow = tuple[str, dict[str, Any] | None, dict[str, Any]]
"""A label, and the records of the first evaluation, which may lack the split or the metric, and of the last."""


def eval_rows(evals: Sequence[dict[str, Any]]) -> list[EvalRow]:
    """For every split and metric of the last evaluation a label, and the records of the first and the last one."""
    if not evals:
        return []
    first = {
        (record["split"], record["metric"]): record for record in evals if record["step"] == evals[0]["step"]
    }
    rows: list[EvalRow] = []
    for record in evals:
        if record["step"] != evals[len(evals) - 1]["step"]:
            continue
        before = first.get((record["split"], record["metric"]))
        rows.append((_eval_label(before or record, record), before, record))
    return rows


def _eval_label(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The label of a row: what the evaluation ``after`` marked, and how much both evaluations could not mark."""
    split = after["split"]
    name = "held-out prompts" if split in (MAIN_SPLIT, ALL_SPLITS) else f"prompts: {split}"
    label = f"{after['metric'].replace('_', ' ')} on {after['n']} {name}"
    unmarked_before, unmarked_after = (record.get("unmarked") or 0 for record in (before, after))
    if unmarked_before != unmarked_after:
        return f"{label} (unmarked: {unmarked_before} before, {unmarked_after} after)"
    return f"{label} ({unmarked_after} unmarked)" if unmarked_after else label


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _tokens(summary: Summary) -> Table:
    table = _table("tokens", f"in {summary.num_steps} steps")
    for name, label in TOKEN_NAMES.items():
        table.add_row(label, f"{summary.tokens[name]:,}")
    return table


def _times(summary: Summary, start_seconds: dict[str, float]) -> Table:
    table = _table("where the time went", "seconds")
    for name, seconds in start_seconds.items():
        table.add_row(f"{name} getting ready", f"{seconds:.1f}")
    for name, label in PHASE_NAMES.items():
        table.add_row(label, f"{summary.seconds[name]:.1f}")
        if name == "wait_s" and _has_writers(summary):
            for part, part_label in ROLLOUT_NAMES.items():
                table.add_row(f"  a rollout: {part_label}", f"{summary.rollout_seconds[part]:.3f}")
    table.add_row(FIGURES["eval_s"].words, f"{summary.seconds['eval_s']:.1f}")
    return table


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold cyan")
    table.add_column(headers[0], min_width=40)
    for header in headers[1:]:
        table.add_column(header, justify="right", min_width=10)
    return table
