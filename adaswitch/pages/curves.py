"""The curves of a run: which there are, in which words and units, and their points."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from adaswitch.runs.directory import NUMBER_OR_NONE, Fields
from adaswitch.runs.intervals import interval_of
from adaswitch.runs.summary import PHASE_NAMES, ROLLOUT_NAMES, TOKEN_NAMES
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


def _named(names: Mapping[str, str], colours: Sequence[str]) -> tuple[Line, ...]:
    return tuple(
        Line(name, label.strip(), colour.rstrip("-"), colour.endswith("-"))
        for (name, label), colour in zip(names.items(), colours, strict=True)
    )


CHARTS = (
    Chart(
        "loss",
        "Loss",
        "nats a token",
        "The loss that was minimised, and its plain means by who wrote the token.",
        (
            Line("loss", "minimised", NEUTRAL),
            Line("loss_on_student_tokens", "on the student's tokens", STUDENT),
            Line("loss_on_teacher_tokens", "on the teacher's tokens", TEACHER),
        ),
    ),
    Chart(
        "switch_rate",
        "Rollouts that switched",
        "share",
        "The share of a step's rollouts that the teacher, or the data, took over.",
        (Line("switch_rate", "switched", TEACHER),),
    ),
    Chart(
        "late",
        "Switches that came too late",
        "share",
        "The share of the switches behind a token that the teacher hardly ever writes, and what chance would give.",
        (
            Line("late_switch_rate", "behind the damage", TEACHER),
            Line("late_switch_rate_at_random", "at places drawn at random", NEUTRAL, dashed=True),
        ),
    ),
    Chart(
        "place",
        "Place of the switch",
        "tokens",
        "The mean position of the first token that the student did not write, beside the mean length.",
        (
            Line("mean_switch_position", "mean switch position", TEACHER),
            Line("mean_completion_tokens", "mean length", NEUTRAL, dashed=True),
        ),
    ),
    Chart(
        "divergence",
        "Divergence",
        "nats",
        "The mean divergence of the two models at the tokens where both distributions were seen.",
        (Line("mean_divergence", "mean divergence", STUDENT),),
    ),
    Chart(
        "tail",
        "Tail of the divergences",
        "times the mean",
        "How many times the mean divergence one divergence in twenty exceeds.",
        (Line("divergence_tail", "one in twenty is above", STUDENT),),
    ),
    Chart(
        "entropy",
        "The teacher's entropy",
        "nats a token",
        "How unsure the teacher is on the student's text, and on its own after the switch.",
        (
            Line("mean_teacher_entropy_exploration", "on the student's text", STUDENT),
            Line("mean_teacher_entropy_guidance", "on its own text", TEACHER),
        ),
    ),
    Chart(
        "tokens",
        "Tokens",
        "tokens a step",
        "Tokens by who handled them, in one step.",
        _named(TOKEN_NAMES, (STUDENT, f"{STUDENT}-", f"{NEUTRAL}-", TEACHER)),
    ),
    Chart(
        "phases",
        "Where the time went",
        "seconds a step",
        "The seconds of a step by what the trainer did.",
        _named(PHASE_NAMES, (NEUTRAL, STUDENT, FAINT)),
    ),
    Chart(
        "rollouts",
        "Where a rollout's time went",
        "seconds a rollout",
        "The seconds that a rollout waited, by whom it waited for.",
        _named(ROLLOUT_NAMES, (STUDENT, f"{TEACHER}-", TEACHER)),
    ),
    Chart(
        "staleness",
        "Staleness",
        "updates",
        "By how many updates the oldest rollout of a step was behind the weights that it trained.",
        (Line("staleness", "oldest rollout", NEUTRAL),),
    ),
    Chart(
        "queue",
        "Queue",
        "rollouts",
        "The rollouts that were waiting in the queue when the trainer took a step's.",
        (Line("queue_depth", "waiting", NEUTRAL),),
    ),
    Chart(
        "gradient",
        "Gradient norm",
        "before clipping",
        "The norm of the gradient before clipping.",
        (Line("grad_norm", "norm", NEUTRAL),),
    ),
    Chart(
        "rate",
        "Learning rate",
        "",
        "The learning rate of each update.",
        (Line("learning_rate", "learning rate", NEUTRAL),),
    ),
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
