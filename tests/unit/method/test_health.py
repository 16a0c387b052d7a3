"""The three failure signatures of switching, each with the figure that shows it."""

import pytest
from rich.console import Console

from adaswitch.errors import DataError
from adaswitch.method.health import MAX_STEPS, MIN_STEPS, not_judged, signatures
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.off_policy import OffPolicy
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.policies.shared_scale import SharedScale
from adaswitch.method.policies.threshold import Threshold
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.run_health import check_run, render

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
            {"switch_rate": 0.99, "mean_switch_position": 12.0},
            "excessive switching",
            "99% of the rollouts switch, in the mean at token 12 of 36",
            "policy.factor",
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
    assert found.name == name
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
    (found,), unknown = check_run(run.path)
    assert unknown is None
    screen = Console(record=True, width=200)
    render([found], None, screen)
    assert found.name in (text := screen.export_text())
    assert f"-> {found.advice}" in text
    render([], None, screen)
    assert "No sign of trouble" in screen.export_text()
    render([], "too early", screen)
    assert screen.export_text() == "Nothing can be said of the switch: too early.\n"


def test_a_fixed_threshold_is_judged_by_its_own_setting():
    (found,) = signatures(Threshold(tau=0.1), steps(switch_rate=1.0, mean_switch_position=0.5))
    assert (found.name, "raise policy.tau" in found.advice) == ("excessive switching", True)


def test_a_shared_scale_is_judged_from_the_first_token_on():
    early = steps(switch_rate=1.0, mean_switch_position=17.0)
    (found,) = signatures(SharedScale(), early)
    assert (found.name, "raise policy.factor or policy.floor" in found.advice) == (
        "excessive switching",
        True,
    )
    assert signatures(SharedScale(), steps(switch_rate=1.0, mean_switch_position=19.0)) == []


def test_early_is_counted_from_where_a_switch_can_come():
    short = {"switch_rate": 1.0, "mean_completion_tokens": 18.0}
    (found,) = signatures(POLICY, steps(**short, mean_switch_position=10.0))
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
