"""The switch rules: the paper's definition by hand, and that a rule never looks ahead."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.switching import AdaptiveThreshold, NeverSwitch, first_crossing

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
