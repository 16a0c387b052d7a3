"""Reads the evaluation of a trained cell: each prompt's marks and divergences, and how many completions had no mark."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaswitch.errors import DataError
from adaswitch.evaluation.report import COMPLETIONS
from adaswitch.runs.directory import read_records


@dataclass(frozen=True)
class Unmarked:
    """The number of completions that could not be marked. They are in no mean."""

    unmarked: int
    of: int
    """The number of all completions, marked or not."""

    def __add__(self, other: "Unmarked") -> "Unmarked":
        return Unmarked(self.unmarked + other.unmarked, self.of + other.of)


NONE_UNMARKED = Unmarked(0, 0)


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of one cell."""

    figures: dict[tuple[str, str], dict[int, tuple[float, int]]] = field(default_factory=dict)
    """By (split, figure), then by the prompt's record: a sum, and the number of completions or tokens it is over."""
    unmarked: dict[str, Unmarked] = field(default_factory=dict)
    """By split: the completions that could not be marked."""


def read_evaluated(folder: Path) -> Evaluated:
    """Read the evaluation in ``folder``. Raises ``DataError`` if its records are damaged.

    A mark is one number for each completion; a divergence is a sum in nats over a completion's tokens. A completion
    that could not be marked adds to no mark, but is counted as unmarked.
    """
    found = Evaluated()
    try:
        for row in read_records(folder / COMPLETIONS):
            _add(found, row)
    except (KeyError, TypeError):
        raise DataError(
            "damaged; remove the folder, and it is made again", source=str(folder / COMPLETIONS)
        ) from None
    return found


def _add(found: Evaluated, row: dict[str, Any]) -> None:
    split = row["split"]
    for figure, value, count in _figures(row):
        prompts = found.figures.setdefault((split, figure), {})
        total, before = prompts.get(row["record"], (0.0, 0))
        prompts[row["record"]] = (total + value, before + count)
    found.unmarked[split] = found.unmarked.get(split, NONE_UNMARKED) + Unmarked(int(row["marks"] is None), 1)


def _figures(row: dict[str, Any]) -> Iterable[tuple[str, float, int]]:
    for metric, mark in (row["marks"] or {}).items():
        yield metric, mark, 1
    for divergence, nats in row["nats"].items():
        yield divergence, nats, row["tokens"]
