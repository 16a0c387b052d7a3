"""What a run came to, in sentences for somebody who sees this project for the first time."""

from collections.abc import Mapping, Sequence
from typing import Any

from adaswitch.method.health import HARDLY, MAX_STEPS, Gain, Record, Signature, mean_of
from adaswitch.runs.intervals import compared, interval_of
from adaswitch.runs.summary import eval_rows

WIDEST = 0.1
"""An interval that reaches further than this above its mark is that of too few prompts to say whether marks rise."""
NEARLY_ALL = 0.95
"""From this mark on there is too little left to rise by."""
NONE_AT_ALL, ALL = 0.005, 0.995
"""Shares of texts below and above which none, or all, are meant."""


def gain_of(evals: Sequence[dict[str, Any]]) -> Gain | None:
    """The main mark in the first and in the newest of ``evals``; None if they cannot say whether it rises."""
    rows = eval_rows(evals)
    if not rows or (before := rows[0][1]) is None or before["step"] == rows[0][2]["step"]:
        return None
    interval, first, last = interval_of(before), before.get("value"), rows[0][2].get("value")
    if interval is None or first is None or last is None:
        return None
    if first >= NEARLY_ALL or interval[1] - first > WIDEST:
        return None
    return Gain(_metric(before), first, last, interval[1])


def conclusion(
    steps: Sequence[Record], evals: Sequence[dict[str, Any]], found: Sequence[Signature], unknown: str | None
) -> list[str]:
    """What came out, who wrote the texts, whether the teacher came in time, and what is to be put right.

    ``found`` and ``unknown`` are what is said of the switch, or why nothing is.
    """
    recent = steps[max(0, len(steps) - MAX_STEPS) :]
    lines = [_marks(evals), _writers(recent), _in_time(recent), _to_do(found, unknown)]
    return [line for line in lines if line]


def _marks(evals: Sequence[dict[str, Any]]) -> str:
    rows = eval_rows(evals)
    if not rows:
        return "Whether the student got better is not known: nothing was evaluated (trainer.eval_every)."
    _, before, after = rows[0]
    if before is None or before["step"] == after["step"]:
        return f"Whether the student got better is not known yet: {_metric(after)} was looked at only once."
    if before.get("value") is None or after.get("value") is None:
        return "Whether the student got better is not known: its answers could not be marked."
    figures = (
        f"{_metric(after)} was {before['value']:.1%} before the training and is {after['value']:.1%} now, "
        f"on {after['n']} prompts that it was not trained on"
    )
    words = compared(interval_of(before), interval_of(after))
    said = {"better": "The student got better", "worse": "The student got worse"}
    return f"{said.get(words, 'Whether the student got better cannot be told from chance')}: {figures}."


def _writers(steps: Sequence[Record]) -> str:
    rate, place = mean_of(steps, "switch_rate"), mean_of(steps, "mean_switch_position")
    length = mean_of(steps, "mean_completion_tokens")
    if rate is None:
        return ""
    if rate < NONE_AT_ALL:
        return "The student wrote every text by itself; the teacher said at each token what it would have written."
    if place is None:
        return ""
    if rate > ALL and place < NONE_AT_ALL:
        return "The student wrote none of the texts that it learnt from."
    of = "" if length is None else f" of {length:.0f}"
    return f"The teacher took over in {rate:.0%} of the texts, in the mean at token {place:.0f}{of}."


def _in_time(steps: Sequence[Record]) -> str:
    late, by_chance = mean_of(steps, "late_switch_rate"), mean_of(steps, "late_switch_rate_at_random")
    place = mean_of(steps, "mean_switch_position")
    if late is None or place is None or place < NONE_AT_ALL:
        return ""
    beside = (
        "" if by_chance is None else f"; at places drawn at random it would be too late in {by_chance:.0%}"
    )
    return (
        f"It came too late in {late:.0%} of these: the student had already written a token that the teacher gives less "
        f"than {HARDLY:.0%}, and nothing behind it takes that back{beside}."
    )


def _to_do(found: Sequence[Signature], unknown: str | None) -> str:
    faults = [signature.name for signature in found if signature.is_fault]
    if faults:
        return f"To be looked at: {', '.join(faults)}. What to try stands beside each."
    if unknown is not None:
        return f"Whether the switch is healthy is not known: {unknown}."
    return "Nothing is to be put right."


def _metric(record: Mapping[str, Any]) -> str:
    return str(record["metric"]).replace("_", " ")
