"""The switch rules: the paper's definition by hand, and that a rule never looks ahead."""

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.errors import ConfigError
from adaswitch.method.distribution import TopK
from adaswitch.method.switching import (
    AdaptiveThreshold,
    AmongTopK,
    FixedThreshold,
    NeverSwitch,
    ProbableEnough,
    SharedScaleThreshold,
    SwitchAt,
    first_crossing,
    first_switch,
)

INF = math.inf
DIVERGENCES = st.lists(st.floats(0, 10), max_size=20)
RULES = st.builds(
    AdaptiveThreshold, window=st.integers(1, 8), factor=st.floats(0.1, 5), floor=st.sampled_from([0.0, 1.0])
)


def test_the_example_of_the_docstring() -> None:
    crossing, thresholds = first_crossing(AdaptiveThreshold(2, 2.0), [], [0.1, 0.3, 0.3, 0.7, 9.0])
    assert crossing == 3
    assert thresholds == pytest.approx([INF, INF, 0.4, 0.6])


def test_there_is_no_threshold_before_the_window_is_full() -> None:
    rule = AdaptiveThreshold(window=3, factor=2.0)
    assert [rule.threshold([1.0] * n) for n in range(5)] == [INF, INF, INF, 2.0, 2.0]
    assert first_crossing(rule, [], [1.0, 50.0, 1e9]) == (None, [INF, INF, INF])


def test_the_mean_is_of_the_last_window_alone() -> None:
    assert AdaptiveThreshold(window=2, factor=3.0).threshold([100.0, 1.0, 2.0]) == 4.5


def test_the_floor_holds_the_threshold_up() -> None:
    rule = AdaptiveThreshold(window=1, factor=2.0, floor=1.0)
    assert rule.threshold([0.1]) == 1.0
    assert rule.threshold([0.8]) == 1.6
    assert rule.threshold([]) == INF


def test_a_divergence_equal_to_the_threshold_does_not_switch() -> None:
    rule = AdaptiveThreshold(window=1, factor=2.0)
    assert first_crossing(rule, [0.5], [1.0]) == (None, [1.0])
    assert first_crossing(rule, [0.5], [math.nextafter(1.0, 2.0)]) == (0, [1.0])


def test_never_switch_never_switches() -> None:
    assert first_crossing(NeverSwitch(), [1.0], [1e308, 2.0]) == (None, [INF, INF])


@given(RULES, DIVERGENCES, st.data())
def test_where_the_pieces_end_changes_nothing(
    rule: AdaptiveThreshold, values: list[float], data: st.DataObject
) -> None:
    whole_crossing, whole = first_crossing(rule, [], values)
    earlier: list[float] = []
    thresholds: list[float] = []
    crossing = None
    while crossing is None and len(earlier) < len(values):
        size = data.draw(st.integers(1, len(values) - len(earlier)))
        new = values[len(earlier) : len(earlier) + size]
        found, piece = first_crossing(rule, earlier, new)
        thresholds += piece
        crossing = None if found is None else len(earlier) + found
        earlier += new
    assert (crossing, thresholds) == (whole_crossing, whole)


@given(RULES, DIVERGENCES)
def test_the_first_crossing_is_the_first(rule: AdaptiveThreshold, values: list[float]) -> None:
    crossing, thresholds = first_crossing(rule, [], values)
    assert thresholds == [rule.threshold(values[:i]) for i in range(len(thresholds))]
    last = len(values) if crossing is None else crossing
    assert all(values[i] <= thresholds[i] for i in range(last))
    if crossing is None:
        assert len(thresholds) == len(values)
    else:
        assert len(thresholds) == crossing + 1
        assert values[crossing] > thresholds[crossing]


def test_the_history_is_left_alone() -> None:
    earlier = [1.0, 2.0]
    first_crossing(AdaptiveThreshold(1, 5.0), earlier, [3.0, 4.0])
    assert earlier == [1.0, 2.0]


def test_the_mean_does_not_depend_on_the_order_of_adding() -> None:
    values = [1e16, 1.0, -1e16, 3.0] * 4
    shuffled = list(values)
    random.Random(0).shuffle(shuffled)
    rule = AdaptiveThreshold(window=16, factor=1.0)
    assert rule.threshold(values) == rule.threshold(shuffled) == 1.0


def test_a_fixed_threshold_is_crossed_from_the_first_step_on() -> None:
    assert first_crossing(FixedThreshold(0.5), [], [0.5, 0.4, 0.6, 9.0]) == (2, [0.5, 0.5, 0.5])
    assert first_crossing(FixedThreshold(0.5), [], [0.6]) == (0, [0.5])


def test_a_threshold_on_a_shared_scale_does_not_follow_the_sequence() -> None:
    assert first_crossing(SharedScaleThreshold(3.0, 0.5), [], [1.5, 0.0, 1.6, 9.0]) == (2, [1.5, 1.5, 1.5])
    assert first_crossing(SharedScaleThreshold(3.0, 0.5), [9.0, 9.0], [1.6]) == (0, [1.5])
    assert first_crossing(SharedScaleThreshold(3.0, 0.1, floor=1.0), [], [1.0, 1.1]) == (1, [1.0, 1.0])
    assert first_crossing(SharedScaleThreshold(3.0, None, floor=1.0), [], [1e9]) == (None, [INF])


def test_a_switch_at_a_place_needs_no_divergence() -> None:
    assert first_crossing(SwitchAt(2), [], [9.0, 9.0, 0.0, 0.0]) == (2, [INF, INF, -INF])
    assert first_crossing(SwitchAt(2), [9.0], [9.0, 0.0]) == (1, [INF, -INF])
    assert first_crossing(SwitchAt(2), [9.0, 9.0, 9.0], [9.0]) == (None, [INF])


ROWS = TopK(
    torch.tensor([[3, 1, 0], [2, 0, 1]]),
    torch.tensor([[0.5, 0.3, 0.1], [0.9, 0.05, 0.01]]).log(),
    vocab_size=6,
)


def test_a_token_stays_among_the_most_likely() -> None:
    assert AmongTopK(1).accepts([3, 0], ROWS) == [True, False]
    assert AmongTopK(2).accepts([1, 0], ROWS) == [True, True]
    assert AmongTopK(3).accepts([0, 5], ROWS) == [True, False]
    with pytest.raises(ConfigError, match=r"policy\.accept_top_k 4 is more than the 3 candidates"):
        AmongTopK(4).accepts([0, 5], ROWS)


def test_a_token_stays_if_it_is_probable_enough() -> None:
    assert ProbableEnough(0.2).accepts([1, 0], ROWS) == [True, False]
    assert ProbableEnough(0.4).accepts([1, 2], ROWS) == [False, True]
    assert ProbableEnough(0.001).accepts([0, 5], ROWS) == [True, False]


def test_the_first_token_that_may_not_stay_is_the_switch() -> None:
    assert first_switch(AmongTopK(1), [], [0.1, 0.2], [3, 2], ROWS) == (None, [INF, INF])
    assert first_switch(AmongTopK(1), [], [0.1, 0.2], [3, 0], ROWS) == (1, [INF, -INF])
    assert first_switch(AmongTopK(1), [7.0], [0.1, 0.2], [0, 0], ROWS) == (0, [-INF])
    assert first_switch(FixedThreshold(0.15), [], [0.1, 0.2], [0, 0], ROWS) == (1, [0.15, 0.15])
