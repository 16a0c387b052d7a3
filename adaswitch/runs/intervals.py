"""The 95 % interval of a mark, from the record of an evaluation."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from adaswitch.tasks.scores import wilson


def interval_of(record: Mapping[str, Any]) -> tuple[float, float] | None:
    """The 95 % interval of an evaluation's record; None if it is not known.

    Runs of older versions did not record it. A share of right answers has Wilson's, which follows from the record.
    """
    kept, value, n = record.get("interval"), record.get("value"), record.get("n")
    if isinstance(kept, Mapping):
        low, high = kept.get("low"), kept.get("high")
        return (low, high) if _is_share(low) and _is_share(high) else None
    if record.get("metric") != "exact_match" or not isinstance(n, int) or not _is_share(value):
        return None
    found = wilson(round(value * n), n)
    return None if found is None else (found.low, found.high)


def compared(first: tuple[float, float] | None, last: tuple[float, float] | None) -> str:
    """What two 95 % intervals say of each other in words; empty if one is not known."""
    if first is None or last is None:
        return ""
    if last[0] > first[1]:
        return "better"
    return "worse" if last[1] < first[0] else "no clear difference"


def _is_share(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 <= value <= 1
