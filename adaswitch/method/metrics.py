"""The metrics of a step, named as in ``metrics.jsonl``, and how they follow from the rollouts."""

from collections.abc import Sequence
from statistics import fmean

import torch

from adaswitch.method.rollout import Ending, Rollout


def rollout_metrics(rollouts: Sequence[Rollout], version: int) -> dict[str, float | int | None]:
    """The metrics of one step's rollouts, which train weights of ``version``.

    ``switch_rate`` is the share of rollouts with a token that the student did not write. ``mean_switch_position`` is
    the mean position of the first such token over these rollouts, in tokens, and None if there are no such rollouts.
    ``budget_cut_rate`` is the share of rollouts that the teacher's budget cut short, and ``budget_spent_rate`` the
    share that used its budget up. Seconds are means over the rollouts of the time that each rollout waited. For
    replayed rollouts, tokens, seconds and ``staleness`` are those of the run that recorded them.
    The teacher's entropy at each stage, in nats per token over the k + 1 outcomes, is taken over the rollouts that
    have both stages.
    """
    positions = [r.switch_position for r in rollouts if r.switch_position is not None]
    divergences = [d for r in rollouts for d in r.divergences]
    entropy_exploration, entropy_guidance = _teacher_entropies(rollouts)
    return {
        "switch_rate": len(positions) / len(rollouts),
        "mean_switch_position": fmean(positions) if positions else None,
        "mean_divergence": fmean(divergences) if divergences else None,
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
