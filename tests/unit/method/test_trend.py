"""A switch rate that rises or never moves, named as what it is."""

import pytest

from adaswitch.method.health import MIN_STEPS
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.policies.shared_scale import SharedScale
from adaswitch.method.policies.take_over import TakeOver
from adaswitch.method.policies.threshold import Threshold
from adaswitch.method.trend import rate_trend

COLD = {"switch_rate": 0.15, "mean_divergence": 2.0, "divergence_tail": 2.3}
WARM = {"switch_rate": 0.94, "mean_divergence": 0.4, "divergence_tail": 5.2}


def run(first, last, number=100):
    half = number // 2
    return [first] * half + [last] * (number - half)


def test_a_rate_that_rises_is_named_with_the_tail_that_causes_it():
    found = rate_trend(AdaSwitch(), run(COLD, WARM))
    assert (found.name, found.is_fault) == ("a switch rate that rises", False)
    assert found.evidence == (
        "15% of the rollouts switched at first, and 94% do now, while the mean divergence went from 2 to 0.4 nats, "
        "and one divergence in twenty is above 5.2 times their mean (at first 2.3 times)"
    )
    assert "how heavy the tail of the divergences is" in found.advice
    assert "policy.floor" in found.advice


def test_a_rate_that_never_moves_while_the_student_learns():
    found = rate_trend(SharedScale(), run({**COLD, "switch_rate": 0.97}, {**WARM, "switch_rate": 0.98}))
    assert (found.name, found.is_fault) == ("a switch rate that never moves", False)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (WARM, COLD),
        ({**COLD, "switch_rate": 0.9}, {**WARM, "switch_rate": 0.8}),
        # The student has learnt nothing, or the rate is low.
        ({**COLD, "switch_rate": 0.97}, {**COLD, "switch_rate": 0.98}),
        ({**COLD, "switch_rate": 0.1}, {**WARM, "switch_rate": 0.1}),
    ],
)
def test_what_needs_no_word(first, last):
    assert rate_trend(AdaSwitch(), run(first, last)) is None


def test_few_steps_and_policies_without_a_threshold_say_nothing():
    assert rate_trend(AdaSwitch(), run(COLD, WARM, 2 * MIN_STEPS - 1)) is None
    assert rate_trend(AdaSwitch(), run(COLD, WARM, 2 * MIN_STEPS)) is not None
    assert rate_trend(OnPolicy(), run(COLD, WARM)) is None


def test_older_runs_have_no_tail_on_record():
    first, last = ({"switch_rate": each["switch_rate"]} for each in (COLD, WARM))
    found = rate_trend(AdaSwitch(), run(first, last))
    assert found.evidence == "15% of the rollouts switched at first, and 94% do now"


def test_a_threshold_that_does_not_follow_the_mean_is_told_apart():
    found = rate_trend(Threshold(tau=1.0), run(COLD, WARM))
    assert "raise policy.tau" in found.advice
    followed = rate_trend(TakeOver(), run(COLD, WARM))
    assert "policy.trigger.floor" in followed.advice
