"""Settings of taking over: what fits together, what is refused and why, and tokens that are named by their texts."""

import pytest

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig, check_rules
from adaswitch.errors import ConfigError
from adaswitch.method.policies.base import Policy
from adaswitch.method.policies.relay_opd import RelayOPD
from adaswitch.method.policies.take_over import TakeOver
from adaswitch.method.takeover.cuts import CUTS
from adaswitch.method.takeover.holds import HOLDS
from adaswitch.method.takeover.holds.sentence import Sentence
from adaswitch.method.takeover.triggers import TRIGGERS
from adaswitch.method.takeover.triggers.fixed import Fixed

DOCUMENT = {"name": "run", "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/x"}}
SMALLEST = {
    "trigger": [
        {"kind": "adaptive"},
        {"kind": "fixed", "tau": 1.0},
        {"kind": "decaying", "tau": 1.0},
        {"kind": "shared_scale"},
        {"kind": "over_entropy"},
        {"kind": "unsure"},
        {"kind": "accumulated"},
        {"kind": "top_k"},
        {"kind": "probability", "min_probability": 0.1},
        {"kind": "redirect"},
        {"kind": "own", "rule": {"kind": "custom", "path": "tests.own_rules:Rule"}},
    ],
    "hold": [
        {"kind": "to_the_end"},
        {"kind": "tokens"},
        {"kind": "until_low", "tau": 0.1},
        {"kind": "recovered"},
        {"kind": "sentence"},
    ],
    "cut": [{"kind": "at_crossing"}, {"kind": "last_safe", "safe": 0.1}],
}


def config(**settings: object) -> RunConfig:
    return parse_config(with_overrides(DOCUMENT, [("policy", {"kind": "take_over", **settings})]))


def policy(**settings: object) -> Policy:
    return config(**settings).policy


def test_the_smallest_settings_above_are_those_of_every_rule() -> None:
    for group, rules in (("trigger", TRIGGERS), ("hold", HOLDS), ("cut", CUTS)):
        kinds = {rule.model_fields["kind"].default for rule in rules}
        assert {settings["kind"] for settings in SMALLEST[group]} == kinds


@pytest.mark.parametrize("trigger", SMALLEST["trigger"], ids=lambda one: one["kind"])
@pytest.mark.parametrize("hold", SMALLEST["hold"], ids=lambda one: one["kind"])
@pytest.mark.parametrize("cut", SMALLEST["cut"], ids=lambda one: one["kind"])
def test_every_trigger_hold_and_cut_compose(
    trigger: dict[str, object], hold: dict[str, object], cut: dict[str, object]
) -> None:
    run = config(trigger=trigger, hold=hold, cut=cut)
    check_rules(run)
    assert parse_config(run.model_dump(mode="json")) == run
    assert run.policy.hands_back == (hold["kind"] != "to_the_end")
    assert (run.policy.threshold_settings is None) == (
        hold["kind"] != "to_the_end" or trigger["kind"] in {"top_k", "probability", "redirect", "own"}
    )


FIXED, JSD = {"kind": "fixed", "tau": 0.5}, {"kind": "fixed", "tau": 0.7, "metric": "jsd"}
SAFE = {"kind": "last_safe"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trigger": {"kind": "fixed"}}, "policy.trigger.tau: this setting is required"),
        (
            {"trigger": JSD},
            "policy.trigger: tau 0.7 with metric jsd: no divergence is above 0.693 nats: lower it",
        ),
        ({"trigger": {"kind": "decaying", "tau": 0.0}}, "policy.trigger.tau: Input should be greater than 0"),
        ({"trigger": {"kind": "nonsense"}}, "policy.trigger.kind: "),
        ({"hold": {"kind": "until_low", "tau": 1.0, "metric": "jsd"}}, "policy.hold: tau 1 with metric jsd"),
        ({"hold": {"kind": "sentence", "ends": []}}, "policy.hold.ends: List should have at least 1 item"),
        ({"hold": {"kind": "sentence", "ends": [""]}}, "policy.hold.ends.0: String should have at least 1"),
        (
            {"trigger": {"kind": "redirect", "words": [" "]}},
            "policy.trigger.words.0: String should match pattern",
        ),
        ({"cut": SAFE}, "policy.cut: set exactly one of safe (nats) and share (of the threshold)"),
        ({"cut": SAFE | {"safe": 0.1, "share": 0.1}}, "policy.cut: set exactly one of safe"),
        ({"cut": SAFE | {"share": 1.0}}, "policy.cut.share: Input should be less than 1"),
        (
            {"trigger": {"kind": "top_k"}, "cut": SAFE | {"share": 0.5}},
            "policy: cut.share is a share of a threshold, and the trigger top_k has none: set cut.safe",
        ),
        (
            {"trigger": FIXED, "cut": SAFE | {"safe": 0.5}},
            "policy: cut.safe 0.5 must be below trigger.tau 0.5: every token before the crossing would be safe",
        ),
        (
            {"trigger": FIXED, "hold": {"kind": "until_low", "tau": 0.6}},
            "policy: hold.tau 0.6 is above trigger.tau 0.5: what is low to the hold would have the teacher take over",
        ),
        ({"budget": {}}, "policy.budget: set times, tokens or both, or leave it out"),
        ({"budget": {"times": 0}}, "policy.budget.times: Input should be greater than or equal to 1"),
        (
            {"budget": {"times": 2}},
            "policy: budget.times belongs to a teacher that hands back, and with hold to_the_end it takes over once",
        ),
        (
            {"trigger": {"kind": "top_k", "accept_top_k": 65}},
            "policy.trigger.accept_top_k 65 must not exceed teacher.top_k 64",
        ),
        (
            {"trigger": {"kind": "redirect", "student_top_k": 65}},
            "policy.trigger.student_top_k 65 must not exceed teacher.top_k 64",
        ),
    ],
)
def test_one_line_with_the_key_and_the_reason(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(**settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_own_rule_that_cannot_be_used_is_named_where_it_stands() -> None:
    run = config(trigger={"kind": "own", "rule": {"kind": "custom", "path": "tests.own_rules:Neither"}})
    with pytest.raises(ConfigError, match=r"^policy\.trigger\.rule\.path: the class .* has neither"):
        check_rules(run)
    assert [part.path for part in run.policy.own_code] == ["tests.own_rules:Neither"]


def test_a_policy_that_names_no_tokens_is_its_own_bound_form() -> None:
    plain = TakeOver(trigger=Fixed(tau=1.0))
    assert plain.bound(lambda: pytest.fail("no texts are needed")) is plain
    assert not plain.needs_texts
    assert RelayOPD().needs_texts


def test_tokens_are_found_by_their_texts() -> None:
    texts = ["", "a.", " b", ".\n\n", "c?  ", "Wait", " but", "waits"]
    bound = Sentence().bound(lambda: texts, "policy.hold")
    assert bound._ids == {1, 3, 4}
    assert Sentence(ends=["\n\n"]).bound(lambda: texts, "policy.hold")._ids == {3}
    ways = RelayOPD().bound_ways(lambda: texts)
    assert (ways.trigger._ids, ways.hold._ids) == ({5, 6}, {3})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            TakeOver(hold=Sentence(ends=["#"])),
            "policy.hold.ends: the tokenizer has no token that ends with any",
        ),
        (RelayOPD(), "policy.words: the tokenizer has no token that reads like one of them: name others"),
        (RelayOPD(words=["a"]), "policy.ends: the tokenizer has no token that ends with any of them"),
    ],
)
def test_tokens_that_the_tokenizer_lacks_are_refused(policy: Policy, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy.bound(lambda: ["a", "b."])
    assert str(caught.value).startswith(message)
