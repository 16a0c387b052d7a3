"""The tables of a comparison as the page shows them, and each method's cost beside its quality."""

from collections.abc import Mapping, Sequence
from typing import Any

from adaswitch.tasks.scores import ALL_SPLITS, MAIN_SPLIT
from experiments.tables import COST_COLUMNS, COST_DEFINITIONS, mean_text, seeds_text, spread_text, table_heads
from experiments.unmarked import unmarked_note

Document = Mapping[str, Any]
Part = dict[str, Any]
Column = tuple[str, str]
"""Split and metric."""
COSTS = ("train_s", "wall_s", "cpu_s", "teacher_tokens", "scored_tokens", "student_tokens")


def tables_of(document: Document) -> Part:
    """The tables of ``document``, which ``as_json`` made. Raises ``KeyError`` and the like for another one."""
    tables = [_table(document, key, head) for key, head in table_heads(document).items()]
    return {
        "tables": [table for table in tables if table["rows"] or table["note"]],
        "meaning": (
            f"{seeds_text(document['seeds'])}. Mean ± half of the 95% interval over "
            f"{spread_text(document['seeds'])}; strong where the paired difference from {document['reference']} "
            "excludes zero."
        ),
        "costs": _costs(document["costs"]),
        "quality": _quality(document),
    }


def _table(document: Document, key: str, head: str) -> Part:
    columns, found = _by_method(document[key])
    return {
        "key": key,
        "head": head,
        "note": unmarked_note(document["unmarked"][key], key),
        "columns": [column_title(*column) for column in columns],
        "rows": [
            {"method": method, "cells": [_cell(rows.get(column)) for column in columns]}
            for method, rows in found.items()
        ],
    }


def _by_method(rows: Sequence[Part]) -> tuple[list[Column], dict[str, dict[Column, Part]]]:
    """The columns in the order of their first row, and each method's rows by column."""
    columns = list(dict.fromkeys((row["split"], row["metric"]) for row in rows))
    found: dict[str, dict[Column, Part]] = {}
    for row in rows:
        found.setdefault(row["method"], {})[row["split"], row["metric"]] = row
    return columns, found


def column_title(split: str, metric: str) -> str:
    """``exact match``, with the split's name unless it stands for the whole."""
    name = metric.replace("_", " ")
    return name if split in (MAIN_SPLIT, ALL_SPLITS) else f"{split}: {name}"


def _cell(row: Part | None) -> Part | None:
    if row is None:
        return None
    difference = row["difference"]
    by_seed = ", ".join(f"{seed}: {value:.3f}" for seed, value in row["by_seed"].items())
    shown = {"mean": mean_text(row["mean"]), "by_seed": by_seed, "difference": None}
    if difference is None:
        return shown
    return {
        **shown,
        "difference": {
            "text": mean_text(difference, "+"),
            "clear": bool(difference["excludes_zero"]),
            **_ends(difference),
        },
    }


def _ends(figures: Document) -> Part:
    mean, half = float(figures["mean"]), figures["half_width"]
    known = half is not None
    return {"mean": mean, "low": mean - half if known else None, "high": mean + half if known else None}


def _costs(costs: Sequence[Document]) -> Part:
    return {
        "heads": [*COST_COLUMNS.values(), "switch rate, first → last tenth"],
        "rows": [
            {
                "method": cost["method"],
                "cells": [
                    *(f"{cost[name]:,.0f}" for name in COST_COLUMNS),
                    f"{cost['switch_rate_first']:.2f} → {cost['switch_rate_last']:.2f}",
                ],
            }
            for cost in costs
        ],
        "note": COST_DEFINITIONS,
    }


def _quality(document: Document) -> Part:
    """For each method its costs, and its marks once trained, which the page draws against each other."""
    rows = [*document["rows"], *document["evaluations"]]
    columns, found = _by_method(rows)
    return {
        "costs": [{"key": name, "title": COST_COLUMNS[name]} for name in COSTS],
        "marks": [column_title(*column) for column in columns],
        "points": [
            {
                "method": cost["method"],
                "costs": {name: cost[name] for name in COSTS},
                "marks": [_mark(found.get(cost["method"], {}).get(column)) for column in columns],
            }
            for cost in document["costs"]
        ],
    }


def _mark(row: Part | None) -> Part | None:
    return None if row is None else _ends(row["mean"])
