"""Settings of the policies and of the teacher's budget: what is refused, with the key and the fix."""

import pytest

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError
from adaswitch.method.policies.base import Policy

DOCUMENT = {"name": "run", "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/x"}}
SMALLEST: list[dict[str, object]] = [
    {"kind": "adaswitch"},
    {"kind": "threshold", "tau": 1.0},
    {"kind": "on_policy"},
    {"kind": "off_policy"},
    {"kind": "dataset"},
    {"kind": "mixed"},
    {"kind": "skd"},
    {"kind": "relay", "tau": 1.0},
    {"kind": "random_switch", "positions": [0.5]},
    {"kind": "shared_scale"},
    {"kind": "replay", "run": "runs/demo"},
    {"kind": "take_over"},
    {"kind": "ssd", "tau": 0.1},
    {"kind": "switch", "tau": 0.3},
    {"kind": "dash"},
    {"kind": "relay_opd"},
    {"kind": "motab"},
    {"kind": "prefix", "num_tokens": 8},
]
HAND_BACK = ["skd", "relay", "ssd", "switch", "dash", "relay_opd", "motab"]
POSITIONS_OR_RUN = "policy: set exactly one of positions (probabilities) and from_run (a run directory)"


def parse(*overrides: tuple[str, object]) -> RunConfig:
    return parse_config(with_overrides(DOCUMENT, overrides))


def policy(settings: dict[str, object]) -> Policy:
    return parse(("policy", settings)).policy


@pytest.mark.parametrize("settings", SMALLEST, ids=lambda settings: settings["kind"])
def test_each_policy_by_its_kind(settings: dict[str, object]) -> None:
    config = parse(("policy", settings))
    assert config.policy.kind == settings["kind"]
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "threshold"}, "policy.tau: this setting is required"),
        ({"kind": "threshold", "tau": -1}, "policy.tau: Input should be greater than or equal to 0"),
        ({"kind": "replay"}, "policy.run: this setting is required"),
        (
            {"kind": "mixed", "student_fraction": 1.5},
            "policy.student_fraction: Input should be less than or equal to 1",
        ),
        ({"kind": "mixed", "other": "student"}, "policy.other: Input should be 'teacher' or 'dataset'"),
        ({"kind": "mixed", "student_frac": 1}, "policy.student_frac: unknown setting; did you mean"),
        (
            {"kind": "skd", "accept_top_k": 0},
            "policy.accept_top_k: Input should be greater than or equal to 1",
        ),
        ({"kind": "skd", "accept_top_k": 65}, "policy.accept_top_k 65 must not exceed teacher.top_k 64"),
        *[
            (
                {"kind": "skd", "write_ahead": value},
                "policy.write_ahead: must be a whole number from 0 on, or auto",
            )
            for value in (-1, True, 1.5, "some", None)
        ],
        ({"kind": "on_policy", "write_ahead": 1}, "policy.write_ahead: unknown setting of this kind"),
        ({"kind": "relay"}, "policy: judge divergence needs tau: set it"),
        ({"kind": "relay", "judge": "top_k"}, "policy: judge top_k needs accept_top_k: set it"),
        (
            {"kind": "relay", "judge": "probability", "tau": 1.0, "min_probability": 0.1},
            "policy: tau belongs to judge divergence, not to probability: leave it out",
        ),
        (
            {"kind": "relay", "judge": "top_k", "accept_top_k": 99},
            "policy.accept_top_k 99 must not exceed teacher.top_k 64",
        ),
        (
            {"kind": "relay", "judge": "probability", "min_probability": 0.0},
            "policy.min_probability: Input should be greater than 0",
        ),
        (
            {"kind": "shared_scale", "window_steps": 0},
            "policy.window_steps: Input should be greater than or equal to 1",
        ),
        ({"kind": "shared_scale", "factor": 0.0}, "policy.factor: Input should be greater than 0"),
        (
            {"kind": "shared_scale", "floor": -1.0},
            "policy.floor: Input should be greater than or equal to 0",
        ),
        (
            {"kind": "shared_scale", "window_step": 8},
            "policy.window_step: unknown setting; did you mean window_steps?",
        ),
        ({"kind": "random_switch"}, POSITIONS_OR_RUN),
        ({"kind": "random_switch", "positions": [0.1], "from_run": "runs/demo"}, POSITIONS_OR_RUN),
        (
            {"kind": "random_switch", "positions": [0.5, -0.1]},
            "policy.positions.1: Input should be greater than or equal to 0",
        ),
        (
            {"kind": "random_switch", "positions": [0.5, 0.6]},
            "policy: positions add up to 1.1, which must not exceed 1",
        ),
        (
            {"kind": "random_switch", "positions": [0.5], "from_steps": [0, 1]},
            "policy: from_steps belongs to from_run",
        ),
        (
            {"kind": "random_switch", "from_run": "runs/demo", "from_steps": [3, 1]},
            "policy: from_steps must be the first and the last step, in this order",
        ),
    ],
)
def test_one_line_with_the_key_and_the_fix(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_positions_may_add_up_to_one_with_rounding() -> None:
    policy({"kind": "random_switch", "positions": [0.1] * 10})
    policy({"kind": "random_switch", "positions": [1 / 3, 1 / 3, 1 / 3, 0.0, 1e-12]})
    policy({"kind": "random_switch", "positions": []})


def test_what_the_policies_need() -> None:
    with_reference = [{"kind": "dataset"}, {"kind": "mixed", "other": "dataset"}]
    settings = [*SMALLEST, {"kind": "mixed", "other": "teacher"}]
    needing = [one for one in settings if policy(one).needs_reference]
    assert needing == [{"kind": "dataset"}, {"kind": "mixed"}]
    assert all(policy(one).needs_reference for one in with_reference)
    assert [one["kind"] for one in SMALLEST if policy(one).hands_back] == HAND_BACK
    assert policy({"kind": "skd", "accept_top_k": 7}).accepted_candidates == 7
    assert policy({"kind": "relay", "tau": 1.0}).accepted_candidates is None
    assert policy({"kind": "adaswitch"}).accepted_candidates is None


def test_a_selection_by_divergences_that_nobody_sees_is_refused() -> None:
    select = ("trainer.loss", {"kind": "forward_kl", "select": {"by": "divergence", "share": 0.5}})
    assert parse(select).trainer.loss.selection().share == 0.5
    with pytest.raises(ConfigError, match=r"^trainer\.loss\.select\.by divergence with policy off_policy"):
        parse(select, ("policy", {"kind": "off_policy"}))


def test_a_budget_for_a_teacher_that_does_not_write_is_refused() -> None:
    replay = ("policy", {"kind": "replay", "run": "runs/demo"})
    assert parse(replay).policy.kind == "replay"
    with pytest.raises(ConfigError, match=r"^trainer\.eval_by: with policy replay there are no students"):
        parse(replay, ("trainer.eval_by", "students"))
    with pytest.raises(ConfigError, match=r"^teacher_budget: with policy replay the teacher writes nothing"):
        parse(replay, ("teacher_budget.tokens_per_run", 100_000))


@pytest.mark.parametrize(
    ("name", "limit", "least"), [("tokens_per_step", 31, 32), ("tokens_per_run", 319, 320)]
)
def test_a_budget_below_one_token_a_rollout_is_refused(name: str, limit: int, least: int) -> None:
    steps = ("trainer.num_steps", 10)
    with pytest.raises(ConfigError, match=f"^teacher_budget.{name} {limit} must be at least {least}, the"):
        parse(steps, (f"teacher_budget.{name}", limit))
    assert getattr(parse(steps, (f"teacher_budget.{name}", least)).teacher_budget, name) == least


@pytest.mark.parametrize("write_ahead", ["auto", 0, 1, 7])
def test_chunks_ahead_are_a_number_or_auto(write_ahead: int | str) -> None:
    config = parse(("policy", {"kind": "custom", "path": "tests.own_rules:Good", "write_ahead": write_ahead}))
    assert config.policy.chunks_ahead == write_ahead
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("student.lockstep", "yes", "student.lockstep: Input should be True, False or 'auto'"),
        (
            "student.gather_window_s",
            -1.0,
            "student.gather_window_s: Input should be greater than or equal to 0",
        ),
        ("student.gather_requests", 0, "student.gather_requests: Input should be greater than or equal to 1"),
    ],
)
def test_how_students_go_on_is_checked(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse((key, value))
    assert message in str(caught.value)
