"""Whether the teacher takes over before the damage or behind it, from what a step's rollouts record.

A teacher goes on from what the student has written and cannot take it back. So what matters of a switch is whether the
text before it is still text that the teacher might have written: it is not once a token of the student's is one that
the teacher hardly ever writes. How often a switch comes too late by chance alone is what the control tells, which
draws its places without a look at the text (``random_switch``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from adaswitch.method.health import HARDLY
from adaswitch.method.rollout import Rollout


@dataclass(frozen=True)
class Damage:
    """How many of the switches come behind the damage. None where a step's rollouts do not say."""

    late: float | None
    """The share of the switches behind the first token that the teacher gives less than ``HARDLY``."""
    late_at_random: float | None
    """The share that would be expected if each rollout switched at the place of a rollout drawn at random."""


@dataclass(frozen=True)
class _OwnText:
    """The student's text up to the first switch, or to its end."""

    length: int
    """The number of its tokens, which is the place of the switch, counted from 0."""
    switched: bool
    damaged_at: int | None
    """The first token that the teacher hardly ever writes."""
    unknown_at: int | None
    """The first token whose probability is not known well enough, before any that is damaged."""
    risk_at_switch: float | None
    """The probability that the student's token at the switch, which was thrown away, would have been damage."""


def damage_of(rollouts: Sequence[Rollout]) -> Damage:
    """How many of the first switches of ``rollouts`` come behind the damage, and how many would by chance."""
    texts = [_own_text(rollout) for rollout in rollouts]
    verdicts = [text.damaged_at is not None for text in texts if text.switched and text.unknown_at is None]
    return Damage(fmean(verdicts) if verdicts else None, _late_at_random(texts))


def _own_text(rollout: Rollout) -> _OwnText:
    place = rollout.switch_position
    length = rollout.num_tokens if place is None else place
    damaged, unknown = _judged(rollout, length)
    damaged_at = int(damaged.argmax()) if damaged.any() else None
    unknown_at = int(unknown.argmax()) if unknown.any() else None
    if damaged_at is not None and (unknown_at is None or damaged_at < unknown_at):
        unknown_at = None
    risk = None if place is None else _risk_at(rollout, place)
    return _OwnText(length, place is not None, damaged_at, unknown_at, risk)


def _judged(rollout: Rollout, length: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """``[length]`` each: which of the first tokens the teacher hardly ever writes, and of which it is not known.

    A token beyond the teacher's candidates has at most the probability of the least of them, and at most what all of
    them leave over.
    """
    probabilities = rollout.teacher.logprobs[:length].double().exp()
    written = torch.tensor(rollout.completion_token_ids[:length]).reshape(-1, 1)
    found = rollout.teacher.ids[:length] == written
    is_candidate = found.any(-1)
    at_most = torch.minimum(1 - probabilities.sum(-1), probabilities[:, -1])
    at_most = torch.where(is_candidate, (probabilities * found).sum(-1), at_most)
    hardly = at_most < HARDLY
    return hardly.numpy(), (~hardly & ~is_candidate).numpy()


def _risk_at(rollout: Rollout, place: int) -> float | None:
    """What the student gave at ``place`` to tokens that the teacher hardly ever writes; None if it is not on record."""
    top = rollout.student_top
    probabilities = rollout.teacher.logprobs[place].double().exp()
    beyond = min(1 - float(probabilities.sum()), float(probabilities[-1]))
    if top is None or place >= len(top.ids) or beyond >= HARDLY:
        return None
    likely = rollout.teacher.ids[place][probabilities >= HARDLY].numpy()
    harmless = np.exp(top.logprobs[place].astype(np.float64))[np.isin(top.ids[place], likely)]
    return float(np.clip(1 - harmless.sum(), 0, 1))


def _late_at_random(texts: Sequence[_OwnText]) -> float | None:
    """The share of late switches if the places of these ``texts`` were dealt out at random among them.

    It is the product-limit estimate (Kaplan and Meier 1958) of how long the student's text lasts undamaged: a text that
    ends with its switch counts up to there, with the risk of the token that was thrown away. So it needs no text that
    nobody wrote. A rule that fires where the student is weak leaves the sounder texts, so that it is a little too low.
    """
    switched = [text for text in texts if text.switched]
    if not switched or any(text.risk_at_switch is None for text in switched):
        return None
    size = max(text.length for text in texts) + 1
    seen, damaged = np.zeros(size), np.zeros(size)
    for text in texts:
        num_sound, last_risk = _lasted(text)
        seen[: num_sound + (last_risk is not None)] += 1
        damaged[num_sound] += last_risk or 0.0
    hazards = np.divide(damaged, seen, out=np.zeros(size), where=seen > 0)
    lasts = np.concatenate([[1.0], np.cumprod(1 - hazards)])
    return fmean(1 - float(lasts[text.length]) for text in switched)


def _lasted(text: _OwnText) -> tuple[int, float | None]:
    """The number of sound tokens that are known, and the risk of the token behind them; None if nothing is known."""
    if text.unknown_at is not None:
        return text.unknown_at, None
    if text.damaged_at is not None:
        return text.damaged_at, 1.0
    return text.length, text.risk_at_switch
