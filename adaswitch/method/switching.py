"""The switch rules, which say when the teacher takes over. ← To change the rule, write another rule here.

A ``SwitchRule`` turns the divergences d_1, d_2, .. of a rollout into thresholds tau_1, tau_2, ..; the rollout
switches at the first i with d_i > tau_i. tau_i may depend on d_1 .. d_(i-1) alone, never on d_i or later. Only so is
it correct to look at a whole chunk at once. A ``TokenRule`` judges each of the student's tokens by itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from adaswitch.errors import ConfigError

if TYPE_CHECKING:  # settings name rules, but are also read by programs without torch
    from adaswitch.method.distribution import TopK


class SwitchRule(Protocol):
    """A rule that says how large a divergence may be."""

    def threshold(self, earlier: Sequence[float]) -> float:
        """tau_i in nats, from ``earlier`` = d_1 .. d_(i-1). Infinity means that there is no switch at step i."""


@dataclass(frozen=True)
class AdaptiveThreshold:
    """AdaSwitch's rule (arXiv 2510.07842): tau_i = K m_(i-1), where m is the mean of the last L divergences.

    m is defined once L divergences exist, so the first switch can come at step L + 1. ``floor`` is ours, not
    the paper's: with ``floor`` the threshold is max(K m_(i-1), floor), so that a mean near 0 does not turn noise
    into a switch. ``floor`` 0 is the paper's rule.

    With window 2 and factor 2, divergences .1, .3, .3, .7 have thresholds inf, inf, .4, .6, so the switch comes at
    the fourth step.
    """

    window: int
    factor: float
    floor: float = 0.0

    def threshold(self, earlier: Sequence[float]) -> float:
        """``factor`` times the mean of the last ``window`` divergences; infinity while there are fewer."""
        if len(earlier) < self.window:
            return math.inf
        # fsum rounds only once, so the mean cannot depend on the chunks in which the divergences arrived.
        mean = math.fsum(earlier[len(earlier) - self.window :]) / self.window
        return max(self.factor * mean, self.floor)


@dataclass(frozen=True)
class NeverSwitch:
    """No switch: the student writes to the end, as in on-policy distillation."""

    def threshold(self, earlier: Sequence[float]) -> float:
        """Always infinity."""
        return math.inf


@dataclass(frozen=True)
class FixedThreshold:
    """The paper's ablation (arXiv 2510.07842): the same tau, in nats, at every step."""

    tau: float

    def threshold(self, earlier: Sequence[float]) -> float:
        """Always ``tau``."""
        return self.tau


@dataclass(frozen=True)
class SharedScaleThreshold:
    """Ours, not the paper's: ``factor`` times a ``scale`` in nats that all sequences of a step share.

    The sequence's own divergences do not count. While there is no scale (None) there is no switch. ``floor`` is
    the smallest threshold, in nats.
    """

    factor: float
    scale: float | None
    floor: float = 0.0

    def threshold(self, earlier: Sequence[float]) -> float:
        """The same threshold at every step."""
        return math.inf if self.scale is None else max(self.factor * self.scale, self.floor)


@dataclass(frozen=True)
class SwitchAt:
    """A switch at one given place, counted from 0, whatever the divergence. It is a control, not the paper's."""

    place: int

    def threshold(self, earlier: Sequence[float]) -> float:
        """Minus infinity at ``place``, infinity elsewhere."""
        return -math.inf if len(earlier) == self.place else math.inf


@runtime_checkable
class TokenRule(Protocol):
    """A rule that judges the student's own token in place of the divergence."""

    def accepts(self, token_ids: Sequence[int], scores: "TopK") -> list[bool]:
        """Whether each token may stay, judged by the teacher's distributions at the same places."""


@dataclass(frozen=True)
class AmongTopK:
    """Speculative KD's rule (arXiv 2410.11325): a token stays if it is among the teacher's ``num`` most likely."""

    num: int

    def accepts(self, token_ids: Sequence[int], scores: "TopK") -> list[bool]:
        """See ``TokenRule``. Raises ``ConfigError`` if fewer than ``num`` candidates are known."""
        if scores.k < self.num:
            raise ConfigError(
                f"policy.accept_top_k {self.num} is more than the {scores.k} candidates that the teacher gives: "
                "lower it"
            )
        # Rows are sorted by falling probability.
        rows = scores.ids[:, : self.num].tolist()
        return [token in row for token, row in zip(token_ids, rows, strict=True)]


@dataclass(frozen=True)
class ProbableEnough:
    """A token stays if its probability under the teacher is ``least`` or more. A token outside the top-k never stays.

    The probability of a token outside the top-k is not known, but it is at most 1 / (k + 1).
    """

    least: float

    def accepts(self, token_ids: Sequence[int], scores: "TopK") -> list[bool]:
        """See ``TokenRule``."""
        enough = scores.logprobs.double() >= math.log(self.least)
        rows = [ids[mask].tolist() for ids, mask in zip(scores.ids, enough, strict=True)]
        return [token in row for token, row in zip(token_ids, rows, strict=True)]


def last_place(rule: object) -> int | None:
    """The place, counted from 0, at which ``rule`` switches whatever is written; None if it depends on that."""
    return rule.place if isinstance(rule, SwitchAt) else None


def first_switch(
    rule: SwitchRule | TokenRule,
    earlier: Sequence[float],
    new: Sequence[float],
    token_ids: Sequence[int],
    scores: "TopK",
) -> tuple[int | None, list[float]]:
    """The place in a chunk where the teacher takes over: ``first_crossing``, or the first token that may not stay.

    With a ``TokenRule``, the thresholds are infinite where tokens stay, and minus infinity at the token that may not.
    """
    if not isinstance(rule, TokenRule):
        return first_crossing(rule, earlier, new)
    verdicts = rule.accepts(token_ids, scores)
    if all(verdicts):
        return None, [math.inf] * len(verdicts)
    place = verdicts.index(False)
    return place, [math.inf] * place + [-math.inf]


def first_crossing(
    rule: SwitchRule, earlier: Sequence[float], new: Sequence[float]
) -> tuple[int | None, list[float]]:
    """The place where ``new`` divergences, which follow the ``earlier`` ones, first exceed their threshold.

    Returns the index within ``new`` (None if there is no such place), and the thresholds up to and including it.
    """
    history = list(earlier)
    thresholds: list[float] = []
    for index, divergence in enumerate(new):
        thresholds.append(rule.threshold(history))
        if divergence > thresholds[-1]:
            return index, thresholds
        history.append(divergence)
    return None, thresholds
