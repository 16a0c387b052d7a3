"""The three failure signatures of switching, each with the figure that shows it."""

from dataclasses import replace

import pytest
from rich.console import Console

from adaswitch.errors import DataError
from adaswitch.method.health import MAX_STEPS, MIN_STEPS, Gain, not_judged, signatures
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.off_policy import OffPolicy
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.policies.shared_scale import SharedScale
from adaswitch.method.policies.take_over import TakeOver
from adaswitch.method.policies.threshold import Threshold
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.run_health import CheckUp, check_run, render

HEALTHY = {
    "switch_rate": 0.4,
    "mean_switch_position": 20.0,
    "mean_completion_tokens": 36.0,
    "mean_divergence": 0.3,
    "mean_teacher_entropy_exploration": 0.9,
    "mean_teacher_entropy_guidance": 0.6,
}
POLICY = AdaSwitch()


def steps(number=MAX_STEPS, **changes):
    return [{**HEALTHY, **changes}] * number


def test_a_healthy_run_has_none():
    assert signatures(POLICY, steps()) == []


@pytest.mark.parametrize(
    ("changes", "name", "figure", "setting"),
    [
        (
            {"switch_rate": 0.99, "mean_switch_position": 12.0, "late_switch_rate": 0.3},
            "excessive switching",
            "99% of the rollouts switch, in the mean at token 12 of 36; 30% of the switches come behind a token that "
            "the teacher gives less than 0.02",
            "policy.factor",
        ),
        (
            {"late_switch_rate": 0.6, "late_switch_rate_at_random": 0.7},
            "guidance after the damage",
            "60% of the switches come behind a token that the teacher gives less than 0.02 (70% would at places drawn "
            "at random)",
            "lower policy.factor",
        ),
        (
            {"switch_rate": 0.0, "closest_to_threshold": 0.2},
            "a threshold out of reach",
            "no divergence comes to more than 20% of its threshold",
            "lower policy.factor",
        ),
        (
            {"switch_rate": 0.01, "could_switch_rate": 0.04, "mean_completion_tokens": 8.0},
            "a window longer than completions",
            "4% of the rollouts have more than the 10 tokens before which no switch can come, and have 8 in the mean",
            "lower policy.window",
        ),
        (
            {"switch_rate": 0.01, "mean_switch_position": None},
            "no switching",
            "1% of the rollouts switch at a mean divergence of 0.3 nats",
            "lower policy.factor",
        ),
        (
            {"mean_teacher_entropy_guidance": 0.88},
            "degradation after switching",
            "entropy 0.88 nats a token",
            "warm the student up",
        ),
    ],
)
def test_each_signature_says_its_figure_and_the_setting(changes, name, figure, setting):
    (found,) = signatures(POLICY, steps(**changes))
    assert (found.name, found.is_fault) == (name, True)
    assert figure in found.evidence
    assert setting in found.advice
    assert str(found) == f"{name}: {found.evidence}; {found.advice}"


@pytest.mark.parametrize(
    "changes",
    [
        {"switch_rate": 0.99, "mean_switch_position": 30.0},
        {"switch_rate": 0.9, "mean_switch_position": 12.0},
        {"switch_rate": 0.03},
        {"mean_teacher_entropy_guidance": 0.45, "mean_teacher_entropy_exploration": 0.2},
        {"mean_teacher_entropy_guidance": None},
        {"late_switch_rate": 0.4, "late_switch_rate_at_random": 0.4},
        {"late_switch_rate": 0.6, "switch_rate": 0.05},
        {"could_switch_rate": 0.6},
    ],
)
def test_what_is_still_healthy(changes):
    assert signatures(POLICY, steps(**changes)) == []


def test_only_the_newest_steps_count():
    old, new = steps(MAX_STEPS, switch_rate=0.0), steps(MAX_STEPS)
    assert signatures(POLICY, old + new) == []
    assert [s.name for s in signatures(POLICY, new + old)] == ["no switching"]


def test_few_steps_say_nothing():
    assert signatures(POLICY, steps(MIN_STEPS - 1, switch_rate=0.0)) == []
    assert signatures(POLICY, steps(MIN_STEPS, switch_rate=0.0)) != []


@pytest.mark.parametrize("policy", [OnPolicy(), OffPolicy()])
def test_a_policy_that_decides_nothing_has_none(policy):
    assert signatures(policy, steps(switch_rate=0.0)) == []


def test_records_of_older_runs_lack_the_entropies():
    record = {name: value for name, value in HEALTHY.items() if "entropy" not in name}
    assert signatures(POLICY, [record] * MAX_STEPS) == []


def test_a_run_is_looked_at_by_its_directory(tmp_path):
    config = load_config("configs/demo.yaml", [f"runs_dir={tmp_path}"])
    run = RunDirectory.create(config)
    with pytest.raises(DataError, match="has not done a step yet"):
        check_run(run.path)
    for step in range(MIN_STEPS):
        append_record(run.metrics, {"step": step, **HEALTHY, "switch_rate": 0.0})
    check_up = check_run(run.path)
    (found,) = check_up.found
    assert check_up.unknown is None
    screen = Console(record=True, width=200)
    render(check_up, screen)
    assert found.name in (text := screen.export_text())
    assert f"-> {found.advice}" in text
    assert "No sign of trouble" not in text
    render(replace(check_up, found=[]), screen)
    assert "No sign of trouble" in screen.export_text()
    render(replace(check_up, found=[replace(found, is_fault=False)]), screen)
    assert "No sign of trouble" in screen.export_text()
    render(CheckUp([], "too early", None, []), screen)
    assert screen.export_text() == "Nothing can be said of the switch: too early.\n"


ALWAYS = {"switch_rate": 1.0, "mean_switch_position": 12.0}
FLAT, RISEN = Gain("exact match", 0.24, 0.25, 0.28), Gain("exact match", 0.24, 0.6, 0.28)


@pytest.mark.parametrize(
    ("changes", "gain", "costs"),
    [
        # As much of the text before the switch is bad as chance would make it, or less than that, or little of it.
        ({"late_switch_rate": 0.3, "late_switch_rate_at_random": 0.3}, RISEN, True),
        ({"late_switch_rate": 0.3, "late_switch_rate_at_random": 0.5}, RISEN, False),
        ({"late_switch_rate": 0.1, "late_switch_rate_at_random": 0.1}, RISEN, False),
        ({"late_switch_rate": 0.1}, FLAT, True),
        ({}, FLAT, True),
        ({}, RISEN, False),
        ({}, None, False),
    ],
)
def test_much_switching_is_a_fault_only_where_it_costs(changes, gain, costs):
    (found,) = signatures(POLICY, steps(**ALWAYS, **changes), gain)
    name = "excessive switching" if costs else "switching almost always"
    assert (found.name, found.is_fault) == (name, costs)
    if gain is FLAT:
        assert "exact match has not risen beyond chance (24.0% before, 25.0% now)" in found.evidence
    if not costs and gain is not None:
        assert "exact match rose from 24.0% to 60.0%" in found.evidence
        assert "nothing shows that this costs anything" in found.advice
    if gain is None:
        assert "trainer.eval_every" in found.advice


def test_a_window_is_the_trigger_s_own():
    policy = TakeOver(trigger={"kind": "adaptive", "window": 20})
    (found,) = signatures(policy, steps(switch_rate=0.0, could_switch_rate=0.0))
    assert found.advice == "lower policy.trigger.window"


def test_a_fixed_threshold_is_judged_by_its_own_setting():
    changes = {"switch_rate": 1.0, "mean_switch_position": 0.5}
    (found,) = signatures(Threshold(tau=0.1), steps(**changes), FLAT)
    assert (found.name, "raise policy.tau" in found.advice) == ("excessive switching", True)


def test_a_shared_scale_is_judged_from_the_first_token_on():
    early = steps(switch_rate=1.0, mean_switch_position=17.0)
    (found,) = signatures(SharedScale(), early, FLAT)
    assert (found.name, "raise policy.factor or policy.floor" in found.advice) == (
        "excessive switching",
        True,
    )
    assert signatures(SharedScale(), steps(switch_rate=1.0, mean_switch_position=19.0)) == []


def test_early_is_counted_from_where_a_switch_can_come():
    short = {"switch_rate": 1.0, "mean_completion_tokens": 18.0}
    (found,) = signatures(POLICY, steps(**short, mean_switch_position=10.0), FLAT)
    assert found.name == "excessive switching"
    assert signatures(POLICY, steps(**short, mean_switch_position=15.0)) == []


def test_why_nothing_is_said():
    assert not_judged(POLICY, steps(3)) == "3 steps say too little, 10 are needed"
    assert not_judged(OnPolicy(), steps()) == "the policy on_policy has no threshold"


def test_a_figure_that_is_none_is_named(tmp_path):
    run = RunDirectory.create(load_config("configs/demo.yaml", [f"runs_dir={tmp_path}"]))
    for changes in ({}, {"switch_rate": "x"}):
        append_record(run.metrics, {"step": 0, **HEALTHY, **changes})
    with pytest.raises(
        DataError, match=r"metrics\.jsonl, line 2: field \"switch_rate\" is 'x', where a number"
    ):
        check_run(run.path)
