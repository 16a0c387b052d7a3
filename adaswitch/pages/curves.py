"""The curves of a run: which there are, in which words and units, and their points."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from adaswitch.runs import figures
from adaswitch.runs.directory import NUMBER_OR_NONE, Fields
from adaswitch.runs.intervals import interval_of
from adaswitch.tasks.scores import ALL_SPLITS, MAIN_SPLIT

MAX_POINTS = 1500
"""The largest number of points of a curve. Longer runs are drawn with the means of so many stretches of steps."""
DIGITS = 5

STUDENT, TEACHER, NEUTRAL, FAINT = "student", "teacher", "neutral", "faint"
"""The colours of curves: one for each writer, and two for all else."""


@dataclass(frozen=True)
class Line:
    """One line in a chart."""

    name: str
    """The field of ``metrics.jsonl``."""
    label: str
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart. ``unit`` is that of all its lines; ``share`` means a number from 0 to 1, shown in percent."""

    key: str
    title: str
    unit: str
    meaning: str
    lines: tuple[Line, ...]


def _chart(key: str, **colours: str) -> Chart:
    """The chart ``key``, with a line for each figure in ``colours``. A colour with ``-`` behind it is dashed."""
    words = figures.CHARTS[key]
    lines = (
        Line(name, figures.FIGURES[name].words, colour.rstrip("-"), colour.endswith("-"))
        for name, colour in colours.items()
    )
    return Chart(key, words.title, words.unit, words.meaning, tuple(lines))


CHARTS = (
    _chart("loss", loss=NEUTRAL, loss_on_student_tokens=STUDENT, loss_on_teacher_tokens=TEACHER),
    _chart("switch_rate", switch_rate=TEACHER),
    _chart("late", late_switch_rate=TEACHER, late_switch_rate_at_random=f"{NEUTRAL}-"),
    _chart("place", mean_switch_position=TEACHER, mean_completion_tokens=f"{NEUTRAL}-"),
    _chart("divergence", mean_divergence=STUDENT),
    _chart("tail", divergence_tail=STUDENT),
    _chart("entropy", mean_teacher_entropy_exploration=STUDENT, mean_teacher_entropy_guidance=TEACHER),
    _chart(
        "tokens",
        student_tokens=STUDENT,
        wasted_tokens=f"{STUDENT}-",
        scored_tokens=f"{NEUTRAL}-",
        teacher_tokens=TEACHER,
    ),
    _chart("phases", wait_s=NEUTRAL, update_s=STUDENT, publish_s=FAINT),
    _chart("rollouts", write_s=STUDENT, score_s=f"{TEACHER}-", generate_s=TEACHER),
    _chart("staleness", staleness=NEUTRAL),
    _chart("queue", queue_depth=NEUTRAL),
    _chart("gradient", grad_norm=NEUTRAL),
    _chart("rate", learning_rate=NEUTRAL),
)
METRIC_FIELDS: Fields = dict.fromkeys(
    ("step", "step_s", *(line.name for chart in CHARTS for line in chart.lines)), NUMBER_OR_NONE
)


def curves(metrics: Sequence[Mapping[str, Any]], evals: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """The points of all charts, the charts that have any, and the marks of the evaluations.

    ``points`` maps each metric to a list with one number, or null, for each point; ``step`` is the number of updates
    after it, and ``teacher_tokens_so_far`` what the teacher had written by then.
    """
    metrics = [record for record in metrics if isinstance(record.get("step"), int)]
    so_far = list(accumulate(record.get("teacher_tokens") or 0 for record in metrics))
    size = math.ceil(len(metrics) / MAX_POINTS) or 1
    starts = range(0, len(metrics), size)
    ends = [min(start + size, len(metrics)) - 1 for start in starts]
    points: dict[str, list[float | None]] = {
        "step": [metrics[end]["step"] + 1 for end in ends],
        "teacher_tokens_so_far": [so_far[end] for end in ends],
    }
    for chart in CHARTS:
        for line in chart.lines:
            points[line.name] = [_mean(metrics[at : at + size], line.name) for at in starts]
    seen = [
        chart for chart in CHARTS if any(v is not None for line in chart.lines for v in points[line.name])
    ]
    return {
        "points": points,
        "steps_a_point": size,
        "charts": [asdict(chart) for chart in seen],
        "scores": _scores(evals, dict(zip((r["step"] + 1 for r in metrics), so_far, strict=True))),
    }


def _mean(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [value for record in records if (value := record.get(name)) is not None]
    return short(sum(values) / len(values)) if values else None


def short(value: float) -> float:
    """``value`` with as many digits as a person can see in a chart."""
    return float(f"{value:.{DIGITS}g}")


def _scores(evals: Sequence[Mapping[str, Any]], so_far: Mapping[int, int]) -> list[dict[str, object]]:
    """The marks of each split and metric over the evaluations, with their intervals where they are known."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in evals:
        if record.get("value") is not None and isinstance(record.get("step"), int):
            found.setdefault((str(record.get("split")), str(record.get("metric"))), []).append(record)
    return [
        {
            "metric": metric.replace("_", " "),
            "split": "held-out prompts" if split in (MAIN_SPLIT, ALL_SPLITS) else split,
            "is_main": split in (MAIN_SPLIT, ALL_SPLITS),
            "step": [record["step"] for record in records],
            "teacher_tokens_so_far": [so_far.get(record["step"], 0) for record in records],
            "value": [short(record["value"]) for record in records],
            "low": [None if (i := interval_of(record)) is None else short(i[0]) for record in records],
            "high": [None if (i := interval_of(record)) is None else short(i[1]) for record in records],
        }
        for (split, metric), records in found.items()
    ]
