"""How the switch rate moves over a run, and what moves it: the tail of the divergences.

The paper expects the rate to fall as the student learns (arXiv 2510.07842). A threshold that is a multiple of the mean
divergence does not see how far the two models are apart, only how far single divergences stand out. As a student learns
most places become easy and few stay hard: the mean falls, the tail grows heavier, and the rate rises or stays.
"""

from collections.abc import Sequence

from adaswitch.method.health import (
    MAX_STEPS,
    MIN_STEPS,
    Record,
    Signature,
    mean_of,
    not_judged,
)
from adaswitch.method.policies.base import Policy

RISE = 0.1
"""From this difference on a rate has risen."""
STILL = 0.05
"""Up to this difference a rate has not moved."""
OFTEN = 0.5
"""A rate below this is not expected to fall by much."""
LEARNT = 0.8
"""The student has learnt if the mean divergence has fallen to this share of what it was."""


def rate_trend(policy: Policy, steps: Sequence[Record]) -> Signature | None:
    """A switch rate that rises, or never moves although the student learns, named as what it is; None for any other.

    ``steps`` are all steps of the run. The first and the last fifth are compared, 10 to 50 steps each.
    """
    size = min(MAX_STEPS, max(MIN_STEPS, len(steps) // 5))
    if not_judged(policy, steps) is not None or len(steps) < 2 * size:
        return None
    first, last = steps[:size], steps[len(steps) - size :]
    before, after = mean_of(first, "switch_rate"), mean_of(last, "switch_rate")
    if before is None or after is None:
        return None
    if after - before >= RISE:
        name = "a switch rate that rises"
    elif abs(after - before) <= STILL and after >= OFTEN and _has_learnt(first, last):
        name = "a switch rate that never moves"
    else:
        return None
    figures = f"{before:.0%} of the rollouts switched at first, and {after:.0%} do now"
    evidence = ", ".join(part for part in (figures, _apart(first, last), _tail(first, last)) if part)
    return Signature(name, evidence, _meaning(policy), is_fault=False)


def _has_learnt(first: Sequence[Record], last: Sequence[Record]) -> bool:
    before, after = mean_of(first, "mean_divergence"), mean_of(last, "mean_divergence")
    return before is not None and after is not None and after <= LEARNT * before


def _apart(first: Sequence[Record], last: Sequence[Record]) -> str:
    before, after = mean_of(first, "mean_divergence"), mean_of(last, "mean_divergence")
    if before is None or after is None:
        return ""
    return f"while the mean divergence went from {before:.2g} to {after:.2g} nats"


def _tail(first: Sequence[Record], last: Sequence[Record]) -> str:
    before, after = mean_of(first, "divergence_tail"), mean_of(last, "divergence_tail")
    if before is None or after is None:
        return ""
    return f"and one divergence in twenty is above {after:.1f} times their mean (at first {before:.1f} times)"


def _meaning(policy: Policy) -> str:
    if policy.threshold_follows_mean:
        return (
            "no fault: a threshold that is a multiple of the mean measures how heavy the tail of the divergences is, "
            f"not how far the models are apart; for a rate that falls as the student learns set {policy.trigger_group}"
            ".floor, or take a fixed threshold"
        )
    return (
        "no fault by itself: where single divergences stay large the threshold is crossed, however many others have "
        f"fallen; see whether the marks rise, and else raise {policy.threshold_settings}"
    )
