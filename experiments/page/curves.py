"""The curves of a comparison: means over seeds with their 95% intervals, by method."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from adaswitch.pages.curves import CHARTS, short
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.intervals import interval_of
from experiments.intervals import interval
from experiments.page.marks import column_title
from experiments.results import CellResult, Results

WINDOWS = 60
"""The largest number of points of a method's curve: each is a mean over so many equal stretches of its steps."""
MARKS_MEANING = "The marks of the evaluations during training."
LINES = (
    ("switch_rate", "switch_rate"),
    ("place", "mean_switch_position"),
    ("place", "mean_completion_tokens"),
    ("divergence", "mean_divergence"),
    ("loss", "loss"),
    ("gradient", "grad_norm"),
)
"""The charts of a run that methods are compared in, and the line of each."""
OTHER_WORDS = {
    "mean_completion_tokens": ("Length", "The mean length of a completion."),
    "loss": (
        "Loss",
        "The loss that was minimised. Methods may minimise different losses: compare the shapes, not the heights.",
    ),
}
SECONDS = ("step_s", "Time", "seconds a step", "The seconds of a step, without evaluations.")

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Point:
    """A place on all axes, and the values of the cells there."""

    step: float
    teacher_tokens: float
    train_s: float
    mean: float
    low: float | None
    high: float | None


def curves_of(results: Results) -> dict[str, Any]:
    """All charts, and what their bands are."""
    marks = [_marks_chart(results, split, metric) for split, metric in results.measured()]
    steps = {
        (method, seed): list(read_records(RunDirectory(cell.folder).metrics))
        for method, cells in results.cells.items()
        for seed, cell in cells.items()
    }
    others = [_steps_chart(results, steps, *words) for words in _charts()]
    charts = [chart for chart in (*marks, *others) if chart["lines"]]
    return {"charts": charts, "note": _note(results, charts)}


def _charts() -> list[tuple[str, str, str, str]]:
    """Field, title, unit and meaning of each chart over steps."""
    known = {chart.key: chart for chart in CHARTS}
    found = []
    for key, name in LINES:
        title, meaning = OTHER_WORDS.get(name, (known[key].title, known[key].meaning))
        if name == "mean_switch_position":
            meaning = "The mean position of the first token that the student did not write."
        found.append((name, title, known[key].unit, meaning))
    return [*found, SECONDS]


def _note(results: Results, charts: Sequence[Mapping[str, Any]]) -> str:
    if not charts:
        return "There are no curves yet: no run is complete."
    if len(results.plan.seeds) > 1:
        return "Lines are means over seeds; bands are their 95% intervals, which need two seeds or more."
    return "One seed: bands are 95% intervals over held-out prompts, which say nothing of other seeds."


def _marks_chart(results: Results, split: str, metric: str) -> dict[str, Any]:
    lines = []
    for method, cells in results.cells.items():
        of_method = [cell for cell in cells.values() if (split, metric) in cell.curves]
        # Cells with a time limit do different numbers of steps: only steps that all cells have can be averaged.
        steps = [{step for step, _ in cell.curves[split, metric]} for cell in of_method]
        common = sorted(set.intersection(*steps)) if steps else []
        values = [dict(cell.curves[split, metric]) for cell in of_method]
        points = [_point(of_method, step, [found[step] for found in values]) for step in common]
        if len(of_method) == 1:
            points = _over_prompts(of_method[0], split, metric, points)
        if points:
            lines.append(_line(method, [_within(point, 1.0) for point in points]))
    title = column_title(split, metric)
    return {
        "key": f"score {split} {metric}",
        "title": title[:1].upper() + title[1:],
        "unit": "share",
        "meaning": MARKS_MEANING,
        "points": True,
        "lines": lines,
    }


def _over_prompts(cell: CellResult, split: str, metric: str, points: Sequence[_Point]) -> list[_Point]:
    """The points of a single cell, with the intervals over prompts that its evaluations recorded."""
    known = {
        record["step"]: interval_of(record)
        for record in read_records(RunDirectory(cell.folder).evals)
        if (record["split"], record["metric"]) == (split, metric)
    }
    found = []
    for point in points:
        low, high = known.get(point.step) or (None, None)
        found.append(_Point(point.step, point.teacher_tokens, point.train_s, point.mean, low, high))
    return found


def _within(point: _Point, most: float) -> _Point:
    """``point`` with its interval cut to what can be: from 0 to ``most``."""
    if point.low is None or point.high is None or not 0 <= point.mean <= most:
        return point
    ends = max(0.0, point.low), min(most, point.high)
    return _Point(point.step, point.teacher_tokens, point.train_s, point.mean, *ends)


def _steps_chart(
    results: Results,
    records: Mapping[tuple[str, int], Records],
    name: str,
    title: str,
    unit: str,
    meaning: str,
) -> dict[str, Any]:
    lines = []
    for method, cells in results.cells.items():
        number = min((len(records[method, seed]) for seed in cells), default=0)
        size = math.ceil(number / WINDOWS) or 1
        points = []
        for start in range(0, number, size):
            end = min(start + size, number)
            values = [_mean(records[method, seed][start:end], name) for seed in cells]
            found = [value for value in values if value is not None]
            if found:
                points.append(_point(list(cells.values()), end, found))
        if points:
            most = 1.0 if unit == "share" else math.inf
            lines.append(_line(method, [_within(point, most) for point in points]))
    return {
        "key": name,
        "title": title,
        "unit": unit,
        "meaning": meaning,
        "points": False,
        "lines": lines,
    }


def _mean(records: Records, name: str) -> float | None:
    values = [value for record in records if (value := record.get(name)) is not None and is_number(value)]
    return fmean(values) if values else None


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _point(cells: Sequence[CellResult], step: int, values: Sequence[float]) -> _Point:
    """The mean of ``values`` after ``step``, with its interval, at the mean places of ``cells``."""
    found = interval(values)
    low, high = (
        (None, None) if found.n == 1 else (found.mean - found.half_width, found.mean + found.half_width)
    )
    tokens = fmean(cell.tokens_by_step[step] for cell in cells)
    return _Point(step, tokens, fmean(cell.seconds_by_step[step] for cell in cells), found.mean, low, high)


def _line(method: str, points: Sequence[_Point]) -> dict[str, Any]:
    def values(read: Callable[[_Point], float | None]) -> list[float | None]:
        return [None if (value := read(point)) is None else short(value) for point in points]

    return {
        "method": method,
        "step": [point.step for point in points],
        "teacher_tokens": [round(point.teacher_tokens) for point in points],
        "train_s": values(lambda point: point.train_s),
        "mean": values(lambda point: point.mean),
        "low": values(lambda point: point.low),
        "high": values(lambda point: point.high),
    }
