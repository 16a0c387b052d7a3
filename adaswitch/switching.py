"""When the pen goes to the teacher: the switch rules. ← To change the rule, write another one here.

A rule turns the divergences d_1, d_2, .. of a rollout into thresholds tau_1, tau_2, ..; the rollout switches
at the first i with d_i > tau_i. tau_i may depend on d_1 .. d_(i-1) alone, never on d_i or later: that is what
makes it right to look at a whole chunk at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class SwitchRule(Protocol):
    """Anything that says how large a divergence may be."""

    def threshold(self, earlier: Sequence[float]) -> float:
        """tau_i in nats, from ``earlier`` = d_1 .. d_(i-1). Infinity: no switch here."""


@dataclass(frozen=True)
class AdaptiveThreshold:
    """AdaSwitch's rule (arXiv 2510.07842): tau_i = K m_(i-1), m the mean of the last L divergences.

    m is defined once L divergences exist, so the first switch can come at step L + 1. ``floor`` is ours, not
    the paper's: with it the threshold is max(K m_(i-1), floor), so that a mean near 0 does not turn noise
    into a switch. 0 is the paper's rule.

    With window 2 and factor 2, divergences .1, .3, .3, .7 have thresholds inf, inf, .4, .6: a switch at the
    fourth step.
    """

    window: int
    factor: float
    floor: float = 0.0

    def threshold(self, earlier: Sequence[float]) -> float:
        """``factor`` times the mean of the last ``window`` divergences, infinity while there are fewer."""
        if len(earlier) < self.window:
            return math.inf
        # fsum rounds once, so that the mean cannot depend on how the divergences arrived.
        mean = math.fsum(earlier[len(earlier) - self.window :]) / self.window
        return max(self.factor * mean, self.floor)


@dataclass(frozen=True)
class NeverSwitch:
    """The student writes to the end: on-policy distillation."""

    def threshold(self, earlier: Sequence[float]) -> float:
        """Always infinity."""
        return math.inf


def first_crossing(
    rule: SwitchRule, earlier: Sequence[float], new: Sequence[float]
) -> tuple[int | None, list[float]]:
    """Where ``new`` divergences, which follow ``earlier`` ones, first exceed their threshold.

    Returns the index within ``new`` (None if nowhere), and the thresholds up to and with that place.
    """
    history = list(earlier)
    thresholds: list[float] = []
    for index, divergence in enumerate(new):
        thresholds.append(rule.threshold(history))
        if divergence > thresholds[-1]:
            return index, thresholds
        history.append(divergence)
    return None, thresholds
