"""What a run's evaluations say of a checkpoint: each mark before the training and after it, with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaswitch.runs.directory import NUMBER, NUMBER_OR_NONE, TEXT, Fields, RunDirectory, read_records
from adaswitch.runs.intervals import interval_of
from adaswitch.tasks.scores import ALL_SPLITS, MAIN_SPLIT

FIELDS: Fields = {
    "step": NUMBER,
    "split": TEXT,
    "metric": TEXT,
    "value": NUMBER_OR_NONE,
    "n": NUMBER,
}


@dataclass(frozen=True)
class Mark:
    """A mark after ``step`` updates, from 0 to 1, with the bounds of its 95 % interval as far as they are known."""

    step: int
    value: float | None
    low: float | None
    high: float | None

    @property
    def words(self) -> str:
        """The mark for people: ``80.8 % (77.1 to 84.0)``."""
        if self.value is None:
            return "-"
        bounds = "" if self.low is None or self.high is None else f" ({self.low:.1%} to {self.high:.1%})"
        return f"{self.value:.1%}{bounds}"


@dataclass(frozen=True)
class Result:
    """One metric on one split of the held-out prompts."""

    split: str
    metric: str
    n: int
    """The number of prompts that were marked after the training."""
    before: Mark | None
    """The mark in the run's first evaluation; None if it is the last as well."""
    after: Mark

    @property
    def name(self) -> str:
        """The metric, and the split if it is not the whole."""
        whole = self.split in (MAIN_SPLIT, ALL_SPLITS)
        return self.metric.replace("_", " ") + ("" if whole else f", {self.split}")


def results_of(run: RunDirectory, step: int) -> list[Result]:
    """The results of ``run`` up to ``step`` updates, the main one first; empty without an evaluation."""
    records = [record for record in read_records(run.evals, FIELDS) if record["step"] <= step]
    if not records:
        return []
    first, last = records[0]["step"], records[-1]["step"]
    return [
        Result(
            record["split"],
            record["metric"],
            int(record["n"]),
            None if first == last else _earlier(records, record, first),
            _mark(record),
        )
        for record in records
        if record["step"] == last
    ]


def _earlier(records: Sequence[Mapping[str, Any]], later: Mapping[str, Any], step: float) -> Mark | None:
    for record in records:
        if record["step"] == step and all(record[name] == later[name] for name in ("split", "metric")):
            return _mark(record)
    return None


def _mark(record: Mapping[str, Any]) -> Mark:
    low, high = interval_of(record) or (None, None)
    return Mark(int(record["step"]), record["value"], low, high)
