"""The metrics of a step, named as in ``metrics.jsonl``, and how they follow from the rollouts."""

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch

from adaswitch.method.damage import damage_of
from adaswitch.method.rollout import Ending, Rollout

TAIL_QUANTILE = 0.95
"""One divergence in twenty is larger than this quantile."""
MIN_FOR_TAIL = 20
"""The smallest number of divergences whose tail can be told."""


def rollout_metrics(
    rollouts: Sequence[Rollout], version: int, first_place: int = 0
) -> dict[str, float | int | None]:
    """The metrics of one step's rollouts, which train weights of ``version``.

    ``first_place`` is the policy's: the first place, counted from 0, where a switch can come.

    ``switch_rate`` is the share of rollouts with a token that the student did not write. ``mean_switch_position`` is
    the mean position of the first such token over these rollouts, in tokens, and None if there are no such rollouts.
    ``budget_cut_rate`` is the share of rollouts that the teacher's budget cut short, and ``budget_spent_rate`` the
    share that used its budget up. Seconds are means over the rollouts of the time that each rollout waited. For
    replayed rollouts, tokens, seconds and ``staleness`` are those of the run that recorded them.
    The teacher's entropy at each stage, in nats per token over the k + 1 outcomes, is taken over the rollouts that
    have both stages.

    ``late_switch_rate`` and ``late_switch_rate_at_random`` are those of ``adaswitch.method.damage``.
    ``divergence_tail`` is the number of times their mean that one divergence in twenty exceeds; None for fewer than 20.
    ``could_switch_rate`` is the share of rollouts that are long enough for a switch, and ``closest_to_threshold`` the
    largest ratio of a divergence to its threshold; None where there was no threshold above 0.
    """
    positions = [r.switch_position for r in rollouts if r.switch_position is not None]
    divergences = [d for r in rollouts for d in r.divergences]
    entropy_exploration, entropy_guidance = _teacher_entropies(rollouts)
    damage = damage_of(rollouts)
    return {
        "switch_rate": len(positions) / len(rollouts),
        "mean_switch_position": fmean(positions) if positions else None,
        "late_switch_rate": damage.late,
        "late_switch_rate_at_random": damage.late_at_random,
        "could_switch_rate": fmean(_could_switch(r, first_place) for r in rollouts),
        "closest_to_threshold": _closest_to_threshold(rollouts),
        "mean_divergence": fmean(divergences) if divergences else None,
        "divergence_tail": _tail(divergences),
        "mean_teacher_entropy_exploration": entropy_exploration,
        "mean_teacher_entropy_guidance": entropy_guidance,
        "mean_completion_tokens": fmean(r.num_tokens for r in rollouts),
        "stop_rate": fmean(r.ending is Ending.STOP for r in rollouts),
        "budget_cut_rate": fmean(r.ending is Ending.BUDGET for r in rollouts),
        "budget_spent_rate": fmean(_has_spent_its_budget(r) for r in rollouts),
        "student_tokens": sum(r.costs.student_tokens for r in rollouts),
        "teacher_tokens": sum(r.costs.teacher_tokens for r in rollouts),
        "scored_tokens": sum(r.costs.scored_tokens for r in rollouts),
        "wasted_tokens": sum(r.costs.wasted_tokens for r in rollouts),
        "staleness": max(version - r.weights_version for r in rollouts),
        "write_s": fmean(r.costs.write_s for r in rollouts),
        "score_s": fmean(r.costs.score_s for r in rollouts),
        "generate_s": fmean(r.costs.generate_s for r in rollouts),
    }


def _has_spent_its_budget(rollout: Rollout) -> bool:
    limit = rollout.prompt.max_teacher_tokens
    return limit is not None and rollout.costs.teacher_tokens >= limit


def _could_switch(rollout: Rollout, first_place: int) -> bool:
    return rollout.switch_position is not None or len(rollout.divergences) > first_place


def _closest_to_threshold(rollouts: Sequence[Rollout]) -> float | None:
    ratios = (
        divergence / threshold
        for rollout in rollouts
        for divergence, threshold in zip(rollout.divergences, rollout.thresholds, strict=True)
        if 0 < threshold < math.inf
    )
    return max((ratio for ratio in ratios if math.isfinite(ratio)), default=None)


def _tail(divergences: Sequence[float]) -> float | None:
    mean = fmean(divergences) if len(divergences) >= MIN_FOR_TAIL else 0.0
    return float(np.quantile(divergences, TAIL_QUANTILE)) / mean if mean > 0 else None


def _teacher_entropies(rollouts: Sequence[Rollout]) -> tuple[float | None, float | None]:
    """The teacher's mean entropies over the student's and over the teacher's tokens.

    Both are None if no rollout has tokens of both.
    """
    both = [r for r in rollouts if 0 < r.by_teacher.sum() < r.num_tokens]
    if not both:
        return None, None
    entropies = torch.cat([r.teacher.entropies() for r in both])
    by_teacher = torch.cat([torch.from_numpy(r.by_teacher) for r in both])
    return float(entropies[~by_teacher].mean()), float(entropies[by_teacher].mean())
