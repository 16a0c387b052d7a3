"""A comparison as Markdown for people and as JSON for programs. Both hold the same figures."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from experiments.intervals import Interval, interval, paired
from experiments.results import TOKENS, CellResult, Results


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
        "costs": [_cost(results, method) for method in results.cells if results.cells[method]],
    }


def _value_at(split: str, metric: str, tokens: float | None) -> Callable[[CellResult], float | None]:
    if tokens is None:
        return lambda cell: cell.final(split, metric)
    return lambda cell: cell.at_teacher_tokens(split, metric, tokens)


def _rows(results: Results, split: str, metric: str, tokens: float | None = None) -> list[dict[str, Any]]:
    """A row a method: after the last step, or once the teacher has worked on so many ``tokens``."""
    value = _value_at(split, metric, tokens)
    reference = results.values(results.plan.reference, value)
    rows = []
    for method in results.cells:
        values = results.values(method, value)
        if values:
            rows.append(
                {
                    "method": method,
                    "split": split,
                    "metric": metric,
                    "by_seed": values,
                    "mean": _figures(interval(list(values.values()))),
                    "difference": None if method == results.plan.reference else _paired(values, reference),
                }
            )
    return rows


def _paired(values: Mapping[int, float], reference: Mapping[int, float]) -> dict[str, Any] | None:
    difference = paired(values, reference)
    return None if difference is None else _figures(difference)


def _figures(value: Interval) -> dict[str, Any]:
    """NaN is no JSON: one value has no interval."""
    figures = asdict(value)
    return {**figures, "half_width": None} if value.n == 1 else figures


def _cost(results: Results, method: str) -> dict[str, Any]:
    """Means over the method's cells."""
    cells = results.cells[method].values()
    names: dict[str, Callable[[CellResult], float]] = {
        "train_s": lambda cell: cell.train_s,
        "cpu_s": lambda cell: cell.cpu_s,
        **{name: (lambda cell, name=name: cell.tokens[name]) for name in TOKENS},  # type: ignore[misc]
        "switch_rate_first": lambda cell: _edge(cell.switch_rates, first=True),
        "switch_rate_last": lambda cell: _edge(cell.switch_rates, first=False),
    }
    means = {name: sum(value(cell) for cell in cells) / len(cells) for name, value in names.items()}
    return {"method": method, **means}


def _edge(values: list[float], *, first: bool) -> float:
    """The mean of the first or the last tenth."""
    tenth = max(1, len(values) // 10)
    part = values[:tenth] if first else values[len(values) - tenth :]
    return sum(part) / len(part)


def as_markdown(document: Mapping[str, Any], title: str) -> str:
    """The tables of ``as_json``'s document: marks at equal steps, at equal teacher tokens, and what they cost."""
    reference, seeds = document["reference"], document["seeds"]
    complete, total = document["num_complete"], document["num_cells"]
    partial = "" if complete == total else f"**Only {complete} of {total} runs are complete.** "
    lines = [f"### {title or document['name']}", ""]
    lines += [
        f"{partial}{len(seeds)} seeds ({', '.join(map(str, seeds))}); mean ± half of the 95 % interval over seeds; "
        f"**bold**: the paired difference from {reference} excludes zero. Machine: {document['machine']}.",
        "",
        "After the last step:",
        "",
        *_marks(document["rows"], reference),
        "",
    ]
    if document["equal_teacher_tokens"]:
        lines += [
            f"Once the teacher has worked on {document['common_teacher_tokens']:,.0f} tokens (generated and "
            "scored), read off the line between two evaluations:",
            "",
            *_marks(document["equal_teacher_tokens"], reference),
            "",
        ]
    return "\n".join([*lines, "What it cost, a run:", "", *_costs(document["costs"]), ""])


def _marks(rows: list[dict[str, Any]], reference: str) -> list[str]:
    """A line a method, two columns a split and metric."""
    columns = list(dict.fromkeys((row["split"], row["metric"]) for row in rows))
    found = {(row["method"], row["split"], row["metric"]): row for row in rows}
    heads = [text for split, metric in columns for text in (f"{split}: {metric}", f"minus {reference}")]
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        texts = []
        for split, metric in columns:
            row = found.get((method, split, metric))
            texts += ["", ""] if row is None else [_text(row["mean"]), _difference(row["difference"])]
        lines.append(f"| {method} | {' | '.join(texts)} |")
    return lines


def _text(figures: Mapping[str, Any], sign: str = "") -> str:
    mean = f"{figures['mean']:{sign}.3f}"
    return mean if figures["half_width"] is None else f"{mean} ± {figures['half_width']:.3f}"


def _difference(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return ""
    clear = figures["half_width"] is not None and abs(figures["mean"]) > figures["half_width"]
    return f"**{_text(figures, '+')}**" if clear else _text(figures, "+")


def _costs(costs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| method | seconds of training | CPU seconds | student tokens | of these wasted | teacher tokens | "
        "scored tokens | switch rate, first → last tenth |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cost in costs:
        rate = f"{cost['switch_rate_first']:.2f} → {cost['switch_rate_last']:.2f}"
        lines.append(
            f"| {cost['method']} | {cost['train_s']:.0f} | {cost['cpu_s']:.0f} | {cost['student_tokens']:,.0f} | "
            f"{cost['wasted_tokens']:,.0f} | {cost['teacher_tokens']:,.0f} | {cost['scored_tokens']:,.0f} | {rate} |"
        )
    return lines
