"""What an evaluation of a trained cell kept: each prompt's marks and divergences."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adaswitch.errors import DataError
from adaswitch.io.eval_report import COMPLETIONS
from adaswitch.io.run_directory import read_records

Evaluated = dict[tuple[str, str], dict[int, tuple[float, int]]]
"""By (split, figure), then by the prompt's record: a sum, and over how many completions or tokens it is."""


def read_evaluated(folder: Path) -> Evaluated:
    """Marks count a completion, divergences in nats a token; what could not be marked is left out."""
    found: Evaluated = {}
    try:
        for row in read_records(folder / COMPLETIONS):
            for figure, value, count in _figures(row):
                prompts = found.setdefault((row["split"], figure), {})
                total, before = prompts.get(row["record"], (0.0, 0))
                prompts[row["record"]] = (total + value, before + count)
    except (KeyError, TypeError):
        raise DataError(
            "damaged; remove the folder, and it is made again", source=str(folder / COMPLETIONS)
        ) from None
    return found


def _figures(row: dict[str, Any]) -> Iterable[tuple[str, float, int]]:
    for metric, mark in (row["marks"] or {}).items():
        yield metric, mark, 1
    for divergence, nats in row["nats"].items():
        yield divergence, nats, row["tokens"]
