"""Scores and their intervals: closed forms, and what a simulation says of their coverage."""

import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.tasks.scores import Z_95, Outcome, describe, mean_per_token, over_prompts, scores, wilson


def outcome(number: int, value: float | None, split: str = "eval") -> Outcome:
    return Outcome(split, number, None if value is None else {"right": value})


def test_the_mean_is_over_prompts_and_wilson_is_for_yes_or_no():
    [score] = scores([outcome(1, 1.0), outcome(2, 0.0), outcome(3, 1.0), outcome(4, 1.0)], ["right"])
    assert (score.split, score.metric, score.value, score.n, score.unmarked) == ("eval", "right", 0.75, 4, 0)
    assert score.interval is not None
    assert score.interval.method == "Wilson"
    assert (score.interval.low, score.interval.high) == pytest.approx((0.300642, 0.954413), abs=1e-6)


def test_unmarked_is_in_no_mean_and_is_counted():
    [score] = scores([outcome(1, 1.0), outcome(2, None), outcome(3, 0.0)], ["right"])
    assert (score.value, score.n, score.unmarked) == (0.5, 2, 1)
    [nothing] = scores([outcome(1, None), outcome(2, None)], ["right"])
    assert (nothing.value, nothing.interval, nothing.n, nothing.unmarked) == (None, None, 0, 2)


def test_several_completions_of_a_prompt_count_once():
    sampled = [outcome(1, 1.0), outcome(1, 0.0), outcome(2, 0.0), outcome(2, 0.0), outcome(2, 0.0)]
    [score] = scores(sampled, ["right"])
    assert (score.value, score.n) == (0.25, 2)
    assert score.interval is not None
    assert score.interval.method == "normal over prompts"


def test_a_metric_between_0_and_1_has_a_normal_interval():
    [score] = scores([outcome(i, value) for i, value in enumerate((0.2, 0.4, 0.6))], ["right"])
    half = Z_95 * 0.2 / math.sqrt(3)
    assert score.interval is not None
    assert (score.interval.low, score.interval.high) == pytest.approx((0.4 - half, 0.4 + half))


def test_the_whole_comes_first_and_is_called_eval_or_all():
    kinds = [outcome(1, 1.0, "b"), outcome(2, 0.0, "a"), outcome(1, 0.0, "a")]
    assert [(s.split, s.value, s.n) for s in scores(kinds, ["right"])] == [
        ("all", 1 / 3, 3),
        ("b", 1.0, 1),
        ("a", 0.0, 2),
    ]
    harder = [outcome(1, 0.0, "longer"), outcome(1, 1.0)]
    assert [(s.split, s.value) for s in scores(harder, ["right"])] == [("eval", 1.0), ("longer", 0.0)]


def test_every_metric_has_a_score():
    marked = Outcome("eval", 1, {"rougeL": 0.5, "rouge1": 0.75})
    assert [(s.metric, s.value) for s in scores([marked], ["rougeL", "rouge1"])] == [
        ("rougeL", 0.5),
        ("rouge1", 0.75),
    ]


def test_scores_in_words():
    assert describe("eval", "exact_match", 0.421, 500) == "exact match 42.1% of 500"
    assert describe("all", "rougeL", None, 0, 3) == "rougeL - of 0 (3 unmarked)"
    assert describe("longer", "exact_match", 0.5, 2, 1) == "longer: exact match 50.0% of 2 (1 unmarked)"


@given(n=st.integers(2, 10**6), share=st.floats(0, 1))
def test_wilson_is_the_solution_of_its_equation(n, share):
    num_right = round(share * n)
    interval = wilson(num_right, n)
    assert interval is not None
    assert 0 <= interval.low <= num_right / n <= interval.high <= 1
    for bound in (interval.low, interval.high):
        if 0 < bound < 1:
            spread = Z_95 * math.sqrt(bound * (1 - bound) / n)
            assert abs(num_right / n - bound) == pytest.approx(spread, rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_an_interval_holds_its_mean(means):
    interval = over_prompts(means)
    assert interval is not None
    assert interval.low - 1e-12 <= fmean(means) <= interval.high + 1e-12


def test_one_prompt_has_no_interval():
    assert wilson(1, 1) is None
    assert over_prompts([0.5]) is None
    assert mean_per_token([(3.0, 2)]) == (1.5, None)
    with pytest.raises(ValueError, match="no tokens"):
        mean_per_token([(0.0, 0)])


def test_a_mean_per_token_counts_tokens_and_not_prompts():
    value, interval = mean_per_token([(2.0, 1), (2.0, 3)])
    assert value == 1.0
    # Residuals are +-1, so their variance is 2; the half width is z sqrt(2 * 2) / 4 tokens.
    assert interval is not None
    assert interval.high - value == pytest.approx(Z_95 * 2 / 4)


def test_intervals_hold_the_truth_95_times_of_100():
    rng = np.random.default_rng(0)
    held = {"wilson": 0, "prompts": 0, "ratio": 0}
    for _ in range(500):
        rates = rng.beta(2, 4, size=60)
        draws = rng.binomial(4, rates) / 4
        lengths = rng.integers(1, 40, size=60)
        sums = rng.gamma(lengths * rng.gamma(4, 0.25, size=60))
        intervals = {
            "wilson": (wilson(int(rng.binomial(60, 0.1)), 60), 0.1),
            "prompts": (over_prompts(draws.tolist()), 2 / 6),
            "ratio": (mean_per_token(zip(sums.tolist(), lengths.tolist(), strict=True))[1], 1.0),
        }
        for name, (interval, truth) in intervals.items():
            assert interval is not None
            held[name] += interval.low <= truth <= interval.high
    assert all(450 <= count <= 492 for count in held.values()), held
