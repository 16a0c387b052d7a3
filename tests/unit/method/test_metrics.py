"""Metrics of a step, counted by hand on three rollouts."""

import math
from dataclasses import replace

import pytest

from adaswitch.method.metrics import rollout_metrics
from adaswitch.method.rollout import Costs, Ending, Rollout
from tests.fakes import random_rollout


def rollout(seed: int, num_student: int, num_teacher: int, **changes: object) -> Rollout:
    written = random_rollout(seed, num_student=num_student, num_teacher=num_teacher)
    return replace(written, prompt=replace(written.prompt, max_teacher_tokens=None), **changes)


ROLLOUTS = [
    rollout(
        0,
        4,
        2,
        divergences=(1.0, 2.0),
        thresholds=(1.0, 2.0),
        ending=Ending.STOP,
        weights_version=3,
        costs=Costs(5, 1, 5, 2, 0.5, 1.5, 2.0),
    ),
    rollout(
        1,
        3,
        0,
        divergences=(3.0,),
        thresholds=(3.0,),
        ending=Ending.BUDGET,
        weights_version=5,
        costs=Costs(3, 0, 3, 0, 1.0, 0.5, 0.0),
    ),
    rollout(
        2,
        0,
        6,
        divergences=(),
        thresholds=(),
        ending=Ending.STOP,
        weights_version=4,
        costs=Costs(0, 0, 0, 6, 0.0, 0.0, 4.0),
    ),
]


def entropy(rollout: Rollout, rows: range) -> float:
    """The mean entropy of the teacher's ``rows``: -sum of p log p over the candidates and the tail."""
    total = 0.0
    for row in rows:
        probabilities = [math.exp(value) for value in rollout.teacher.logprobs[row].tolist()]
        probabilities.append(1 - sum(probabilities))
        total -= sum(p * math.log(p) for p in probabilities)
    return total / len(rows)


def test_a_step_of_three_rollouts() -> None:
    metrics = rollout_metrics(ROLLOUTS, version=5)
    assert metrics == pytest.approx(
        {
            "switch_rate": 2 / 3,
            "mean_switch_position": 2.0,
            "late_switch_rate": 0.0,
            "late_switch_rate_at_random": None,
            "could_switch_rate": 1.0,
            "closest_to_threshold": 1.0,
            "mean_divergence": 2.0,
            "divergence_tail": None,
            # Only the first has both stages; its rows by hand, outcome by outcome.
            "mean_teacher_entropy_exploration": entropy(ROLLOUTS[0], range(4)),
            "mean_teacher_entropy_guidance": entropy(ROLLOUTS[0], range(4, 6)),
            "mean_completion_tokens": 5.0,
            "stop_rate": 2 / 3,
            "budget_cut_rate": 1 / 3,
            "budget_spent_rate": 0.0,
            "student_tokens": 8,
            "teacher_tokens": 8,
            "scored_tokens": 8,
            "wasted_tokens": 1,
            "staleness": 2,
            "write_s": 0.5,
            "score_s": 2 / 3,
            "generate_s": 2.0,
        }
    )


def test_what_there_is_none_of_is_none() -> None:
    on_policy = rollout_metrics([ROLLOUTS[1]], version=5)
    assert on_policy["switch_rate"] == 0
    assert on_policy["mean_switch_position"] is None
    off_policy = rollout_metrics([ROLLOUTS[2]], version=5)
    assert off_policy["mean_switch_position"] == 0
    assert off_policy["mean_divergence"] is None


def test_a_budget_that_is_used_up_is_counted_whether_or_not_it_cut_the_rollout_short() -> None:
    spent, left, unlimited = (
        replace(ROLLOUTS[2], prompt=replace(ROLLOUTS[2].prompt, max_teacher_tokens=limit))
        for limit in (6, 7, None)
    )
    assert rollout_metrics([spent, left, unlimited, unlimited], version=5)["budget_spent_rate"] == 0.25


def test_a_rollout_that_ends_before_a_switch_can_come_could_not_switch() -> None:
    short = replace(ROLLOUTS[1], divergences=(0.1, 0.2, 0.3), thresholds=(math.inf,) * 3)
    rates = [rollout_metrics([short, ROLLOUTS[0]], 5, place)["could_switch_rate"] for place in (2, 3)]
    assert rates == [1.0, 0.5]


def test_how_near_a_divergence_came_to_its_threshold() -> None:
    near = replace(ROLLOUTS[1], divergences=(9.0, 0.3, 5.0, 0.2), thresholds=(math.inf, 0.4, -math.inf, 0.0))
    far = replace(ROLLOUTS[1], divergences=(0.1,), thresholds=(0.4,))
    assert rollout_metrics([near, far], 5)["closest_to_threshold"] == pytest.approx(0.75)
    never = replace(far, thresholds=(math.inf,))
    assert rollout_metrics([never], 5)["closest_to_threshold"] is None


def test_the_tail_is_that_of_all_divergences_of_the_step() -> None:
    many = replace(ROLLOUTS[1], divergences=(0.0,) * 90 + (1.0,) * 10, thresholds=(math.inf,) * 100)
    assert rollout_metrics([many], 5)["divergence_tail"] == pytest.approx(10.0)
    level = replace(ROLLOUTS[1], divergences=(0.5,) * 20, thresholds=(math.inf,) * 20)
    assert rollout_metrics([level], 5)["divergence_tail"] == pytest.approx(1.0)
    equal = replace(ROLLOUTS[1], divergences=(0.0,) * 20, thresholds=(math.inf,) * 20)
    assert rollout_metrics([equal], 5)["divergence_tail"] is None
