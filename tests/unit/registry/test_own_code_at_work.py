"""Code of a user's own while a run is under way: what it does is used, and what it must not do is one line."""

import asyncio
import datetime
from pathlib import Path

import pytest
import torch

from adaswitch.data.datasets import load_examples
from adaswitch.errors import ConfigError, DataError, NonFiniteError, OwnCodeError, UnmarkedError
from adaswitch.method.batching import make_batch
from adaswitch.method.losses.custom import CustomLoss
from adaswitch.method.own_rule import OwnRule
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.base import Policy
from adaswitch.method.policies.custom import CustomPolicy
from adaswitch.method.policies.relay import Relay
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget
from adaswitch.method.roll_out import roll_out
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.tasks.base import Example, RecordTask
from adaswitch.tasks.chat import Chat
from adaswitch.tasks.custom import CustomTask
from tests.fakes import FakeStudent, FakeTeacher, hash_model, random_rollout
from tests.own_rules import Squared

VOCAB_SIZE = 7


def rolled(policy: Policy, prompt: Prompt | None = None) -> Rollout:
    """A rollout of at most 8 tokens by two models that differ."""
    student = FakeStudent(hash_model(1, VOCAB_SIZE), 3)
    teacher = FakeTeacher(hash_model(2, VOCAB_SIZE), VOCAB_SIZE, 3)
    return asyncio.run(roll_out(policy, prompt or Prompt(0, (1,)), student, teacher, Budget(8, ())))


def policy(name: str, **settings: object) -> CustomPolicy:
    return CustomPolicy(path=f"tests.own_rules:{name}", settings=settings)


@pytest.mark.parametrize("name", ["Good", "Plain"])
def test_a_policy_of_ones_own_writes(name: str) -> None:
    rollout = rolled(policy(name))
    assert rollout.by_teacher.all()
    assert (rollout.num_tokens, rollout.ending) == (8, Ending.LENGTH)


def test_a_policy_says_what_others_have_to_know_of_it() -> None:
    assert policy("Wants").accepted_candidates == 1000
    assert policy("OnlyStudent").writers == {"student"}
    plain = policy("Plain")
    assert (plain.name, plain.needs_reference, plain.hands_back) == ("tests.own_rules:Plain", False, True)
    assert (plain.accepted_candidates, plain.threshold_settings, plain.scale_steps) == (None, None, None)
    assert (plain.writers, plain.first_place) == ({"student", "other"}, 0)
    # What a class does not say is taken to be so, which costs time and is never wrong.
    assert policy("Good").hands_back is True
    assert policy("Wants").hands_back is False


def test_a_policy_that_raises_is_named_with_its_line() -> None:
    with pytest.raises(OwnCodeError, match=r"Raising.roll_out raised KeyError: 'tau' \(own_rules.py, line"):
        rolled(policy("Raising"))


def test_a_policy_that_stops_too_early_is_named() -> None:
    with pytest.raises(OwnCodeError, match=r"Lazy.roll_out left prompt 0 unfinished after 2 tokens"):
        rolled(policy("Lazy"))
    # Cut short by the teacher's budget it is finished.
    cut = rolled(policy("Lazy"), Prompt(0, (1,), max_teacher_tokens=2))
    assert (cut.num_tokens, cut.ending) == (2, Ending.BUDGET)


def test_nothing_is_guided_beyond_the_budget_or_the_end() -> None:
    with pytest.raises(
        OwnCodeError, match=r"Greedy.roll_out raised ValueError: prompt 0: the completion has had all"
    ):
        rolled(policy("Greedy"), Prompt(0, (1,), max_teacher_tokens=3))
    with pytest.raises(OwnCodeError, match=r"prompt 0: the completion has ended"):
        rolled(policy("Greedy"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "rule",
            r"ValueError: rule 1.0 has neither a method threshold nor a method accepts \(own_rules.py, line",
        ),
        ("metric", r"ValueError: metric 'nonsense' is none of forward_kl, reverse_kl, jsd"),
        ("chunk", r"ValueError: chunk_size is 2.5, and must be a whole number from 1 on"),
        ("tokens", r"ValueError: max_tokens is 0, and must be a whole number from 1 on"),
    ],
)
def test_a_stage_that_is_used_wrongly_says_so_with_the_users_own_line(what: str, message: str) -> None:
    with pytest.raises(OwnCodeError, match=message):
        rolled(policy("Misusing", what=what))


def test_a_draft_is_not_to_be_meddled_with() -> None:
    with pytest.raises(OwnCodeError, match=r"Meddling.roll_out changed stages.draft itself"):
        rolled(policy("Meddling"))


def test_once_the_teacher_is_spent_the_student_goes_on_alone() -> None:
    rollout = rolled(policy("Helping"), Prompt(0, (1,), max_teacher_tokens=3))
    assert int(rollout.by_teacher.sum()) == 3
    assert rollout.num_tokens == 8


def test_an_answer_is_recited_whole_or_not_at_all() -> None:
    with pytest.raises(OwnCodeError, match=r"the answer is a whole completion, and one was begun"):
        rolled(policy("LateRecital"), Prompt(0, (1,), reference_token_ids=(2, 3)))
    recited = rolled(policy("Recital"), Prompt(0, (1,), reference_token_ids=(2, 3)))
    assert recited.completion_token_ids == (2, 3)


def test_rules_of_ones_own_switch() -> None:
    own = OwnRule(path="tests.own_rules:Rule", settings={"tau": 0.0})
    assert rolled(AdaSwitch(rule=own, chunk_size=3)).switch_position == 0
    never = OwnRule(path="tests.own_rules:DataRule", settings={"tau": 1e9})
    assert rolled(AdaSwitch(rule=never)).switch_position is None
    judge = OwnRule(path="tests.own_rules:Judge")
    judged = rolled(Relay(judge="own", rule=judge, guide_tokens=1))
    by_student = [
        token
        for token, other in zip(judged.completion_token_ids, judged.by_teacher, strict=True)
        if not other
    ]
    assert by_student
    assert all(token % 2 == 0 for token in by_student)


def test_a_rule_knows_what_the_health_of_a_run_asks_for() -> None:
    own = AdaSwitch(rule=OwnRule(path="tests.own_rules:Rule"))
    assert (own.threshold_settings, own.first_place) == ("the settings of policy.rule", 0)
    assert own.own_code == [own.rule]
    assert AdaSwitch().own_code == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NaN", r"policy.rule.path: tests.own_rules:NaN.threshold gave nan, which is no number of nats"),
        ("Nothing", r"policy.rule.path: tests.own_rules:Nothing.threshold raised TypeError"),
        ("Short", r"policy.rule.path: tests.own_rules:Short.accepts gave 0 verdicts on 8 tokens"),
    ],
)
def test_a_rule_that_answers_wrongly_is_named(name: str, message: str) -> None:
    with pytest.raises(OwnCodeError, match=message):
        rolled(AdaSwitch(rule=OwnRule(path=f"tests.own_rules:{name}")))


def loss(name: str, **settings: object) -> CustomLoss:
    return CustomLoss(path=f"tests.own_rules:{name}", settings=settings)


def test_a_loss_of_ones_own_is_the_formula_with_all_that_the_base_has() -> None:
    batch = make_batch([random_rollout(seed) for seed in range(3)])
    logits = torch.randn(batch.num_tokens, 11, generator=torch.Generator().manual_seed(0)).requires_grad_()
    own = loss("Squared", scale=2.0, temperature=1.5, exploration_weight=0.25)
    found = own.token_losses(batch, logits)
    torch.testing.assert_close(found, Squared(scale=2.0, temperature=1.5).token_losses(batch, logits))
    p, q = ((side / 1.5).softmax(-1) for side in (batch.teacher_logprobs, batch.student_logprobs(logits)))
    torch.testing.assert_close(found, 2 * ((p - q) ** 2).sum(-1))
    assert own.stage_weights() == (0.25, 1.0)
    assert loss("PlainLoss").stage_weights() == (1.0, 1.0)
    found.sum().backward()
    assert logits.grad is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OneNumber", r"OneNumber.token_losses gave the shape \[\]: give one loss a token, \[7\]"),
        ("Detached", "Detached.token_losses gave losses without a gradient"),
        (
            "Broken",
            "Broken.token_losses raised AttributeError: 'Batch' object has no attribute 'no_such_thing'",
        ),
    ],
)
def test_a_loss_that_answers_wrongly_is_named(name: str, message: str) -> None:
    batch = make_batch([random_rollout(0)])
    with pytest.raises(OwnCodeError, match=message):
        loss(name).token_losses(batch, torch.zeros(batch.num_tokens, 11, requires_grad=True))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "InPlace",
            r"InPlace\.token_losses: RuntimeError: one of the variables needed for gradient .*in place$",
        ),
        (
            "BrokenGradient",
            r"BrokenGradient\.token_losses: AttributeError: .*no_such_thing.* \(own_rules\.py, line \d+\)",
        ),
    ],
)
def test_a_loss_that_torch_refuses_only_at_its_gradient_is_named(name: str, message: str) -> None:
    batch, own = make_batch([random_rollout(0)]), loss(name)
    losses = own.token_losses(batch, torch.zeros(batch.num_tokens, 11, requires_grad=True))
    with (
        pytest.raises(OwnCodeError, match=f"trainer.loss.path: torch cannot .*{message}"),
        own.differentiating(),
    ):
        losses.sum().backward()


def test_a_lack_of_memory_is_not_the_losss_fault() -> None:
    with pytest.raises(torch.OutOfMemoryError), loss("PlainLoss").differentiating():
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_loss_is_not_blamed_for_logits_that_are_not_finite() -> None:
    batch = make_batch([random_rollout(0)])
    logits = torch.full((batch.num_tokens, 11), torch.nan, requires_grad=True)
    with pytest.raises(NonFiniteError, match="the student's logits are not finite"):
        loss("PlainLoss").token_losses(batch, logits)


def task(name: str, **settings: object) -> CustomTask:
    return CustomTask(path=f"tests.own_rules:{name}", settings=settings)


def test_a_task_of_ones_own_has_examples_and_marks() -> None:
    examples = load_examples(task("Made", num=3), "eval")
    assert [example.prompt for example in examples] == ["0+0=", "1+1=", "2+2="]
    made = task("Made").ready()
    assert (made.name, made.metrics, made.wraps_prompts, made.has_held_out) == (
        "Made",
        ("exact_match",),
        False,
        True,
    )
    assert made.mark("#2", examples[1]) == {"exact_match": 1.0}


def test_a_task_of_ones_own_says_how_its_prompts_are_put_to_a_chat_model() -> None:
    source, day = {"path": "notes.jsonl"}, datetime.date(2026, 11, 30)
    settings = {"train": source, "system_prompt": "Short.", "too_long": "skip", "max_prompt_tokens": 9}
    chats = task("Chats", **settings).model_copy(update={"date": day}).ready()
    assert chats.wraps_prompts
    assert chats.chat == Chat(system_prompt="Short.", date=day)
    assert isinstance(chats, RecordTask)
    assert (chats.too_long, chats.max_prompt_tokens) == ("skip", 9)
    own_day = task("Chats", **settings, date="2020-02-29").model_copy(update={"date": day}).ready()
    assert own_day.chat.date == datetime.date(2020, 2, 29)
    assert task("Records", train=source).ready().chat == Chat()
    with pytest.raises(ConfigError, match=r"tests\.own_rules:NoChat\.chat is 'none', and must be"):
        task("NoChat", train=source).check()


def test_records_are_read_for_a_task_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text('{"ask": "a", "say": "b"}\n{"ask": "c"}\n')
    source = {"path": str(tmp_path / "notes.jsonl"), "limit": 1}
    assert load_examples(task("Records", train=source), "train")[0].reference == "b"
    assert load_examples(task("Records", train=source), "eval") == []
    with pytest.raises(
        DataError,
        match=r"notes.jsonl, line 2: tests.own_rules:Records.example raised KeyError: 'say' \(own_rules.py, line",
    ):
        load_examples(task("Records", train={"path": source["path"]}), "train")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Empty", r"Empty.examples\('eval'\) gave no example"),
        ("Strings", r"Strings.examples gave '1\+1=', a str: give an adaswitch.Example"),
        ("SameNumbers", r"SameNumbers.examples gave two examples with the number 1 in the split 'eval'"),
        ("NumberPrompt", r"NumberPrompt.examples gave an example whose prompt is 3"),
        ("Crashing", "Crashing.examples raised OSError: no network"),
    ],
)
def test_a_task_that_gives_no_examples_is_named(name: str, message: str) -> None:
    with pytest.raises(OwnCodeError, match=message):
        load_examples(task(name), "eval")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Unmarkable",
            r"the task raised KeyError: 'mark' in tests.own_rules:Unmarkable.mark \(own_rules.py, line \d+\)",
        ),
        ("WrongMarks", "the task gave {'other': 1.0}, and not a mark for each of exact_match"),
        ("LargeMarks", "the task gave 2.0, which is no number from 0 to 1"),
    ],
)
def test_what_a_task_cannot_mark_is_unmarked(name: str, message: str) -> None:
    with pytest.raises(UnmarkedError, match=message):
        task(name).ready().mark("#2", Example("1+1=", "#2", 1))
