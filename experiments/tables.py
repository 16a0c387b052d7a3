"""A comparison as Markdown for people and as JSON for programs. Both hold the same figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.intervals import Interval, Sums, interval, over_prompts, paired, paired_over_prompts
from experiments.results import TOKENS, CellResult, Results
from experiments.unmarked import UNMARKED, unmarked_note, unmarked_of


def as_json(results: Results, machine: str) -> dict[str, Any]:
    """Everything that the Markdown shows, and every cell's own values."""
    common = results.common_teacher_tokens()
    return {
        "name": results.plan.name,
        "reference": results.plan.reference,
        "seeds": results.plan.seeds,
        "num_cells": len(results.plan.seeds) * len(results.plan.methods),
        "num_complete": sum(len(by_seed) for by_seed in results.cells.values()),
        "machine": machine,
        "common_teacher_tokens": common,
        "rows": [row for split, metric in results.measured() for row in _rows(results, split, metric)],
        "equal_teacher_tokens": [
            row
            for split, metric in results.measured()
            if common > 0
            for row in _rows(results, split, metric, common)
        ],
        "evaluations": [
            row
            for label in results.plan.evaluations
            for split, figure in _evaluated(results, label)
            for row in _evaluation_rows(results, label, split, figure)
        ],
        "unmarked": unmarked_of(results),
        "costs": [_cost(results, method) for method in results.cells if results.cells[method]],
    }


def _value_at(split: str, metric: str, tokens: float | None) -> Callable[[CellResult], float | None]:
    if tokens is None:
        return lambda cell: cell.final(split, metric)
    return lambda cell: cell.at_teacher_tokens(split, metric, tokens)


def _rows(results: Results, split: str, metric: str, tokens: float | None = None) -> list[dict[str, Any]]:
    """One row for each method, with values after the last step, or once the teacher has worked on ``tokens`` tokens."""
    return _rows_of(results, _value_at(split, metric, tokens), split=split, metric=metric)


def _rows_of(
    results: Results, value: Callable[[CellResult], float | None], **named: str
) -> list[dict[str, Any]]:
    """One row for each method: the entries ``named``, and the mean and the paired difference over seeds."""
    reference = results.values(results.plan.reference, value)
    rows = []
    for method in results.cells:
        values = results.values(method, value)
        if values:
            rows.append(
                {
                    "method": method,
                    **named,
                    "by_seed": values,
                    "mean": _figures(interval(list(values.values()))),
                    "difference": None if method == results.plan.reference else _paired(values, reference),
                }
            )
    return rows


def _evaluated(results: Results, label: str) -> list[tuple[str, str]]:
    """The splits and figures of the evaluation ``label``, in the order of their first record."""
    cells = [cell for by_seed in results.cells.values() for cell in by_seed.values()]
    return list(dict.fromkeys(key for cell in cells for key in _sums_of(cell, label)))


def _sums_of(cell: CellResult, label: str) -> Mapping[tuple[str, str], Sums]:
    """The sums of the evaluation ``label``, by (split, figure). Empty if that evaluation is not complete."""
    found = cell.evaluations.get(label)
    return {} if found is None else found.figures  # type: ignore[return-value]


def _evaluation_rows(results: Results, label: str, split: str, figure: str) -> list[dict[str, Any]]:
    """One row for each method. Intervals are over seeds, or over held-out prompts if the plan has a single seed."""

    def sums(cell: CellResult | None) -> Sums:
        return {} if cell is None else _sums_of(cell, label).get((split, figure), {})

    named = {"split": f"{label}, {split}", "metric": figure}
    rows = _rows_of(results, lambda cell: over_prompts(sums(cell)).mean if sums(cell) else None, **named)
    if len(results.plan.seeds) > 1:
        return rows
    (seed,) = results.plan.seeds
    reference = sums(results.cells[results.plan.reference].get(seed))
    for row in rows:
        own = sums(results.cells[row["method"]][seed])
        row["mean"] = _figures(over_prompts(own))
        if row["method"] != results.plan.reference:
            difference = paired_over_prompts(own, reference)
            row["difference"] = None if difference is None else _figures(difference)
    return rows


def _paired(values: Mapping[int, float], reference: Mapping[int, float]) -> dict[str, Any] | None:
    difference = paired(values, reference)
    return None if difference is None else _figures(difference)


def _figures(value: Interval) -> dict[str, Any]:
    """``value`` for JSON, which has no NaN: the ``half_width`` of a single value is None."""
    figures = {**asdict(value), "excludes_zero": value.excludes_zero}
    return {**figures, "half_width": None} if value.n == 1 else figures


def _cost(results: Results, method: str) -> dict[str, Any]:
    """The cost of ``method``, as means over its cells."""
    cells = results.cells[method].values()
    names: dict[str, Callable[[CellResult], float]] = {
        "steps": lambda cell: len(cell.switch_rates),
        "train_s": lambda cell: cell.train_s,
        "wall_s": lambda cell: cell.wall_s,
        "cpu_s": lambda cell: cell.cpu_s,
        **{name: (lambda cell, name=name: cell.tokens[name]) for name in TOKENS},  # type: ignore[misc]
        "switch_rate_first": lambda cell: _edge(cell.switch_rates, first=True),
        "switch_rate_last": lambda cell: _edge(cell.switch_rates, first=False),
    }
    means = {name: sum(value(cell) for cell in cells) / len(cells) for name, value in names.items()}
    return {"method": method, **means}


def _edge(values: list[float], *, first: bool) -> float:
    """The mean of the first or the last tenth of ``values``."""
    tenth = max(1, len(values) // 10)
    part = values[:tenth] if first else values[len(values) - tenth :]
    return sum(part) / len(part)


def as_markdown(document: Mapping[str, Any], title: str) -> str:
    """``document``, which ``as_json`` made, as Markdown: marks at equal steps, at equal teacher tokens, and costs."""
    reference, seeds = document["reference"], document["seeds"]
    complete, total = document["num_complete"], document["num_cells"]
    partial = "" if complete == total else f"**Only {complete} of {total} runs are complete.** "
    lines = [f"### {title or document['name']}", ""]
    lines += [
        f"{partial}{seeds_text(seeds)}; mean ± half of the 95 % interval over {spread_text(seeds)}; "
        f"**bold**: the paired difference from {reference} excludes zero. Machine: {document['machine']}.",
        "",
    ]
    lines += _tables(document)
    return "\n".join([*lines, "What it cost, a run:", "", *_costs(document["costs"]), ""])


def _tables(document: Mapping[str, Any]) -> list[str]:
    """The tables of marks, each with a note on what could not be marked. A table without rows and note is left out."""
    lines: list[str] = []
    for name, head in table_heads(document).items():
        marks = ["", *_marks(document[name], document["reference"])] if document[name] else []
        note = unmarked_note(document["unmarked"][name], name)
        bold = ["", note.replace(UNMARKED, f"**{UNMARKED}**", 1)] if note else []
        lines += [f"{head}:", *marks, *bold, ""] if marks or note else []
    return lines


def table_heads(document: Mapping[str, Any]) -> dict[str, str]:
    """The tables of marks by their names in ``document``, each with the words above it."""
    return {
        "rows": "After the last step",
        "equal_teacher_tokens": (
            f"Once the teacher has worked on {document['common_teacher_tokens']:,.0f} tokens (generated and "
            "scored), read off the line between two evaluations"
        ),
        "evaluations": "Evaluated once trained",
    }


def seeds_text(seeds: Sequence[int]) -> str:
    """``2 seeds (3, 5)``."""
    return f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'} ({', '.join(map(str, seeds))})"


def spread_text(seeds: Sequence[int]) -> str:
    """What the intervals are over."""
    return "held-out prompts, which says nothing of other seeds" if len(seeds) == 1 else "seeds"


def _marks(rows: list[dict[str, Any]], reference: str) -> list[str]:
    """A Markdown table with one line for each method, and two columns for each split and metric."""
    columns = list(dict.fromkeys((row["split"], row["metric"]) for row in rows))
    found = {(row["method"], row["split"], row["metric"]): row for row in rows}
    heads = [text for split, metric in columns for text in (f"{split}: {metric}", f"minus {reference}")]
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        texts = []
        for split, metric in columns:
            row = found.get((method, split, metric))
            texts += ["", ""] if row is None else [mean_text(row["mean"]), _difference(row["difference"])]
        lines.append(f"| {method} | {' | '.join(texts)} |")
    return lines


def mean_text(figures: Mapping[str, Any], sign: str = "") -> str:
    """The mean, with half of the interval's width where there is one: ``0.650 ± 0.035``."""
    mean = f"{figures['mean']:{sign}.3f}"
    return mean if figures["half_width"] is None else f"{mean} ± {figures['half_width']:.3f}"


def _difference(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return ""
    text = mean_text(figures, "+")
    return f"**{text}**" if figures["excludes_zero"] else text


COST_COLUMNS = {
    "steps": "steps",
    "train_s": "seconds of training",
    "wall_s": "seconds in all",
    "cpu_s": "CPU seconds in all",
    "student_tokens": "student tokens",
    "wasted_tokens": "of these wasted",
    "teacher_tokens": "teacher tokens",
    "scored_tokens": "scored tokens",
}
COST_DEFINITIONS = (
    "Means over a method's runs. Seconds of training: of all steps, without start and evaluations. Seconds in all "
    "and CPU seconds in all: wall and processor time of a run's processes from start to end, with loading and with "
    "the evaluations on the way, over all attempts but those that were killed; evaluations once trained are in "
    "neither. Student tokens: written by the student; wasted: of these, what is in no completion. Teacher tokens: "
    "written by the teacher; scored tokens: written by others, and given probabilities by the teacher. Switch rate: "
    "the share of rollouts with a token that is not the student's, in the first and the last tenth of the steps."
)


def _costs(costs: list[dict[str, Any]]) -> list[str]:
    """A Markdown table with one line for each method, and under it the meaning of its columns."""
    heads = ["method", *COST_COLUMNS.values(), "switch rate, first → last tenth"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for cost in costs:
        cells = [cost["method"], *(f"{cost[name]:,.0f}" for name in COST_COLUMNS)]
        cells.append(f"{cost['switch_rate_first']:.2f} → {cost['switch_rate_last']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", COST_DEFINITIONS]
