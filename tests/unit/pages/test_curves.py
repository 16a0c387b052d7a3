"""Curves: every point where it belongs, over steps and over teacher tokens, with intervals where they are known."""

import pytest

from adaswitch.pages.curves import MAX_POINTS, METRIC_FIELDS, curves, interval_of
from adaswitch.tasks.scores import wilson

SCORE = {"split": "eval", "metric": "exact_match", "n": 50}


def test_points_stand_after_their_step_and_after_its_teacher_tokens() -> None:
    steps = [{"step": i, "loss": 2.0 - i, "teacher_tokens": 10 * (i + 1)} for i in range(3)]
    found = curves(steps, [{"step": 2, "value": 0.5, **SCORE}])
    assert found["points"]["step"] == [1, 2, 3]
    assert found["points"]["teacher_tokens_so_far"] == [10, 30, 60]
    assert found["points"]["loss"] == [2.0, 1.0, 0.0]
    (score,) = found["scores"]
    assert (score["step"], score["teacher_tokens_so_far"], score["value"]) == ([2], [30], [0.5])
    assert (score["metric"], score["is_main"]) == ("exact match", True)


def test_what_nobody_recorded_has_no_chart_and_gaps_stay_gaps() -> None:
    steps = [{"step": 0, "mean_switch_position": None}, {"step": 1, "mean_switch_position": 4.0}]
    found = curves(steps, [])
    assert [chart["key"] for chart in found["charts"]] == ["place"]
    assert found["points"]["mean_switch_position"] == [None, 4.0]
    assert curves([], []) == {
        "points": {name: [] for name in found["points"]},
        "steps_a_point": 1,
        "charts": [],
        "scores": [],
    }


def test_a_long_run_is_drawn_with_means() -> None:
    steps = [{"step": i, "loss": float(i % 2)} for i in range(2 * MAX_POINTS + 1)]
    found = curves(steps, [])
    assert found["steps_a_point"] == 3
    assert len(found["points"]["loss"]) == len(found["points"]["step"]) <= MAX_POINTS
    assert found["points"]["step"][-1] == len(steps)
    assert found["points"]["loss"][0] == pytest.approx(1 / 3, abs=1e-5)


def test_intervals_are_those_on_record_or_wilsons() -> None:
    kept = {"low": 0.1, "high": 0.4, "method": "normal over prompts"}
    assert interval_of({**SCORE, "metric": "rouge_l", "value": 0.2, "interval": kept}) == (0.1, 0.4)
    expected = wilson(12, 50)
    assert expected is not None
    assert interval_of({**SCORE, "value": 0.24}) == (expected.low, expected.high)
    assert interval_of({**SCORE, "metric": "rouge_l", "value": 0.2}) is None
    assert interval_of({**SCORE, "value": None}) is None


def test_every_line_has_its_field() -> None:
    assert {"loss_on_student_tokens", "teacher_tokens", "wait_s", "queue_depth"} <= set(METRIC_FIELDS)
