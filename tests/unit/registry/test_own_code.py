"""Code of a user's own: what is wrong with it is one line with the path, the cause and the fix, before a run begins."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig, check_rules
from adaswitch.errors import ConfigError, UserError
from adaswitch.runs.config_files import load_config, write_config

DOCUMENT = {"name": "run", "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/x"}}


@pytest.fixture(scope="module", autouse=True)
def failing_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Modules that cannot be imported."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_failing.py").write_text("1 / 0\n", encoding="utf-8")
    (folder / "own_exiting.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    (folder / "own_misspelt.py").write_text("class A(:\n    pass\n", encoding="utf-8")
    (folder / "own_missing_import.py").write_text("import no_such_package\n", encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def custom(path: str, **settings: object) -> dict[str, object]:
    """``OWN`` stands for the module ``tests.own_rules``."""
    return {"kind": "custom", "path": path.replace("OWN", "tests.own_rules"), "settings": settings}


def run_with(place: str, rule: dict[str, object], **more: object) -> RunConfig:
    """A run with ``rule`` at ``place``: policy, rule, loss or task."""
    document: dict[str, object] = {**DOCUMENT, **more}
    match place:
        case "policy":
            document["policy"] = rule
        case "rule":
            document["policy"] = {"kind": "adaswitch", "rule": rule}
        case "loss":
            document["trainer"] = {"loss": rule}
        case "task":
            document["task"] = rule
    return parse_config(document)


def refusal(place: str, rule: dict[str, object]) -> str:
    config = run_with(place, rule)
    with pytest.raises(UserError) as caught:
        check_rules(config)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value).replace("tests.own_rules", "OWN")


PLACES = {"policy": "policy", "rule": "policy.rule", "loss": "trainer.loss", "task": "task"}


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("no_such_module:A", "cannot import 'no_such_module': ModuleNotFoundError: No module named"),
        ("own_failing:A", "cannot import 'own_failing': ZeroDivisionError: division by zero"),
        ("own_exiting:A", "cannot import 'own_exiting': SystemExit: 3"),
        ("own_misspelt:A", "cannot import 'own_misspelt': SyntaxError: invalid syntax"),
        ("own_missing_import:A", "cannot import 'own_missing_import': ModuleNotFoundError"),
        (
            "OWN:Nobody",
            "the module 'OWN' has no 'Nobody': write it there, or correct the path",
        ),
        ("OWN:a_function", "OWN:a_function is a function and no class: name a class"),
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_what_cannot_be_imported_is_one_line(place: str, path: str, cause: str) -> None:
    assert refusal(place, custom(path)).startswith(f"{PLACES[place]}.path: {cause}")


@pytest.mark.parametrize(
    ("place", "rule", "message"),
    [
        (
            "policy",
            custom("OWN:Silent"),
            "policy.path: the class OWN:Silent has no method 'roll_out'",
        ),
        (
            "policy",
            custom("OWN:Rule"),
            "policy.path: the class OWN:Rule has no method 'roll_out'",
        ),
        (
            "policy",
            custom("OWN:Sync"),
            "policy.path: OWN:Sync.roll_out must be an async def",
        ),
        (
            "policy",
            custom("OWN:Thirsty"),
            "policy.path: OWN:Thirsty.roll_out must take 1 argument",
        ),
        (
            "policy",
            custom("OWN:Good", turns=0),
            "policy.settings.turns: Input should be greater than",
        ),
        (
            "policy",
            custom("OWN:Good", turns="2"),
            "policy.settings.turns: Input should be a valid integer",
        ),
        ("policy", custom("OWN:Good", turn=2), "policy.settings.turn: unknown setting"),
        (
            "policy",
            custom("OWN:Plain", turn=2),
            "policy.settings: OWN:Plain refuses them: TypeError",
        ),
        (
            "policy",
            custom("OWN:Plain", turns=4),
            "refuses them: ValueError: turns must be 3 at most",
        ),
        (
            "policy",
            custom("OWN:Wants"),
            "policy.accept_top_k 1000 must not exceed teacher.top_k 64",
        ),
        (
            "rule",
            custom("OWN:Neither"),
            "policy.rule.path: the class OWN:Neither has neither of",
        ),
        (
            "rule",
            custom("OWN:Both"),
            "policy.rule.path: the class OWN:Both has both of",
        ),
        (
            "rule",
            custom("OWN:Rule", tau=-1),
            "policy.rule.settings.tau: Input should be greater than",
        ),
        (
            "rule",
            custom("OWN:DataRule", tau="1"),
            "policy.rule.settings.tau: Input should be a valid num",
        ),
        (
            "rule",
            custom("OWN:DataRule", tua=1.0),
            "unknown setting 'tua' (there are: tau, limit)",
        ),
        (
            "loss",
            custom("OWN:NoLoss"),
            "trainer.loss.path: the class OWN:NoLoss has no method",
        ),
        (
            "loss",
            custom("OWN:Rule"),
            "the class OWN:Rule has no method 'token_losses'",
        ),
        (
            "loss",
            custom("OWN:Squared", scale=0),
            "trainer.loss.settings.scale: Input should be greater",
        ),
        (
            "task",
            custom("OWN:NoMark"),
            "task.path: the class OWN:NoMark has no method 'mark'",
        ),
        (
            "task",
            custom("OWN:NoExamples"),
            "the class OWN:NoExamples has no method 'examples'",
        ),
        (
            "policy",
            custom("OWN:Checking", tau=2.0),
            "OWN:Checking.check raised ValueError: tau too much (own_rules",
        ),
        (
            "policy",
            custom("OWN:WrongHands"),
            "policy.path: OWN:WrongHands.hands_back raised KeyError: 'hands'",
        ),
        (
            "policy",
            custom("OWN:Method"),
            "OWN:Method.needs_reference is a method: write @property above its def",
        ),
        (
            "policy",
            custom("OWN:WrongWriters"),
            "OWN:WrongWriters.writers is None, and must be a set of student",
        ),
        (
            "policy",
            custom("adaswitch:AdaSwitch", rule={"kind": "custom", "path": "gone:X"}),
            "policy.rule.path: cannot import 'gone'",
        ),
        (
            "policy",
            {
                "kind": "custom",
                "path": "adaswitch.method.policies.custom:CustomPolicy",
                "settings": {"path": "tests.own_rules:Good"},
            },
            "is a policy with a kind of its own: set policy.kind to that",
        ),
        (
            "loss",
            custom("OWN:NoWeights"),
            "OWN:NoWeights.stage_weights gave [0, 0]: give two numbers from 0 on",
        ),
        ("loss", custom("OWN:CheckingLoss"), "OWN:CheckingLoss.check raised ValueError: no good"),
        (
            "task",
            custom("OWN:NoMetrics"),
            "OWN:NoMetrics.metrics is (), and must be a tuple of different names",
        ),
        ("task", custom("OWN:WrongTokens"), "OWN:WrongTokens.default_new_tokens is 'x', and must be a whole"),
        ("task", custom("OWN:NoName"), "OWN:NoName.name raised KeyError: 'name'"),
        ("task", custom("OWN:OldCheck"), "task.path: OWN:OldCheck.check must take 1 argument after self"),
        ("task", custom("OWN:NoTask"), "must be derived from adaswitch.GeneratedTask"),
        ("task", custom("OWN:Records"), "task.settings.train: this setting is required"),
        ("task", custom("OWN:Made", num=0), "task.settings.num: Input should be greater than"),
    ],
)
def test_what_does_not_fit_is_one_line(place: str, rule: dict[str, object], message: str) -> None:
    assert message in refusal(place, rule)


def test_a_path_must_look_like_one() -> None:
    for path in (
        "own_rules",
        "my rules:Good",
        "own_rules.Good",
        "own_rules:",
        ":Good",
        "own rules:Good",
        "../own_rules:Good",
    ):
        with pytest.raises(
            ConfigError, match=r"policy\.path: .* is no import path: write module:Class, as in"
        ):
            run_with("policy", custom(path))


@pytest.mark.parametrize(
    ("place", "rule"),
    [
        ("policy", custom("OWN:Good", turns=2)),
        ("policy", custom("OWN:Plain", turns=3)),
        ("rule", custom("OWN:Rule")),
        ("rule", custom("OWN:DataRule", tau=2.0)),
        ("rule", custom("OWN:Judge")),
        ("loss", custom("OWN:Squared", temperature=2.0)),
        ("loss", custom("OWN:PlainLoss")),
        ("task", custom("OWN:Made")),
        ("task", custom("OWN:Records", train={"path": "a.jsonl"})),
    ],
)
def test_what_fits_is_taken_and_written_down_as_it_was(place: str, rule: dict[str, object]) -> None:
    config = run_with(place, rule)
    check_rules(config)
    assert parse_config(config.model_dump(mode="json")) == config


def test_nothing_is_imported_before_it_is_needed() -> None:
    """The teacher reads the same config, on a machine that need not have the file."""
    for place in PLACES:
        assert run_with(place, custom("no_such_module:A")).name == "run"


def test_the_paper_s_settings_have_no_place_beside_a_rule() -> None:
    with pytest.raises(ConfigError, match=r"factor belongs to the paper's rule, which policy.rule replaces"):
        parse_config(
            {
                **DOCUMENT,
                "policy": {"kind": "adaswitch", "factor": 2.0, "rule": custom("OWN:Rule")},
            }
        )


def test_a_loss_on_tokens_that_nobody_writes_is_refused() -> None:
    loss = custom("OWN:Squared", exploration_weight=0.0)
    config = parse_config({**DOCUMENT, "policy": custom("OWN:OnlyStudent"), "trainer": {"loss": loss}})
    with pytest.raises(ConfigError, match=r"exploration_weight 0 with policy tests.own_rules:OnlyStudent"):
        check_rules(config)


def test_a_rule_may_judge_in_a_relay() -> None:
    relay = {"kind": "relay", "judge": "own", "rule": custom("OWN:Judge")}
    check_rules(parse_config({**DOCUMENT, "policy": relay}))
    with pytest.raises(ConfigError, match="judge own needs rule"):
        parse_config({**DOCUMENT, "policy": {"kind": "relay", "judge": "own"}})


@pytest.mark.parametrize("place", PLACES)
def test_an_infinite_setting_is_the_same_in_every_process(place: str, tmp_path: Path) -> None:
    config = run_with(place, custom("no_such_module:A", tau=float("inf"), pair=[1, 2]))
    assert parse_config(json.loads(config.model_dump_json())) == config
    write_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_what_cannot_be_written_down_is_refused_and_a_blank_is_none() -> None:
    with pytest.raises(
        ConfigError, match=r"policy.settings: cannot be written into a config: b'.*' is a bytes"
    ):
        run_with("policy", {"kind": "custom", "path": "own_rules:Good", "settings": {"raw": b"\xff"}})
    blank = run_with("policy", {"kind": "custom", "path": "tests.own_rules:Good", "settings": None})
    check_rules(blank)


def test_a_setting_beside_its_place_is_told_where_it_stands() -> None:
    with pytest.raises(
        ConfigError, match=r"policy.turns: unknown setting; .* under settings: policy.settings.turns"
    ):
        run_with("policy", {"kind": "custom", "path": "tests.own_rules:Good", "turns": 2})
    with pytest.raises(ConfigError, match=r"^policy.settings.tau: settings is a single value"):
        with_overrides({"policy": {"settings": 3}}, [("policy.settings.tau", 0.3)])
