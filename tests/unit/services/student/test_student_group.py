"""Groups of rollouts on real tiny models: what a rollout is must not depend on how it is batched."""

import asyncio
import weakref
from collections.abc import Sequence
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.contract.wire import GenerateRequest, SequenceAnswer
from adaswitch.data.models import load_tokenizer
from adaswitch.data.token_texts import token_texts
from adaswitch.errors import ConfigError
from adaswitch.method.policies.take_over import TakeOver
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk
from adaswitch.method.rollout import Costs, Rollout
from adaswitch.method.takeover.holds.sentence import Sentence
from services.student.engines.engine import WriteRequest
from services.student.parts import build_student
from tests.local_source import LocalSource, LocalTeacher

TEACHER, STUDENT = "models/chain-teacher", "models/chain-student"


def config(**settings: object) -> RunConfig:
    document = {
        "name": "test",
        "seed": 7,
        "task": {"kind": "chain"},
        "teacher": {"top_k": 19},
        "student": {"model": STUDENT, "max_new_tokens": 40, "group_size": 8},
        "policy": {"kind": "adaswitch", "window": 4, "factor": 3.0, "chunk_size": 8},
    }
    return parse_config(with_overrides(document, list(settings.items())))


@pytest.fixture(scope="module")
def teacher() -> LocalTeacher:
    return LocalTeacher(TEACHER)


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    tokenizer = load_tokenizer(STUDENT)
    texts = ["3+5*7-2=", "1+1-9*4+2=", "9*9*9*9+1-5=", "0-1-2-3-4=", "7*3+2-8=", "5+5+5+5+5+5=", "2*2-1*3="]
    start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    return [
        Prompt(i, tuple(start + tokenizer.encode(text, add_special_tokens=False)))
        for i, text in enumerate(texts)
    ]


def roll_out(settings: RunConfig, teacher: LocalTeacher, prompts: list[Prompt]) -> list[Rollout]:
    return asyncio.run(LocalSource(settings, teacher).roll_out(prompts))


def same(one: Rollout, other: Rollout) -> bool:
    return (
        one.completion_token_ids == other.completion_token_ids
        and one.switch_position == other.switch_position
        and torch.allclose(one.teacher.logprobs, other.teacher.logprobs, atol=1e-5)
        and np.allclose(one.divergences, other.divergences, atol=1e-4)
    )


@pytest.fixture(scope="module")
def usual(teacher: LocalTeacher, prompts: list[Prompt]) -> list[Rollout]:
    """Every prompt's rollout by ``config()``."""
    return roll_out(config(), teacher, prompts)


@pytest.mark.parametrize("group_size", [1, 2, 5])
@pytest.mark.parametrize("chunk_size", [1, 3, 40])
def test_neither_group_nor_chunk_size_changes_a_rollout(
    teacher: LocalTeacher, prompts: list[Prompt], usual: list[Rollout], group_size: int, chunk_size: int
) -> None:
    settings = config(**{"student.group_size": group_size, "policy.chunk_size": chunk_size})
    assert all(map(same, roll_out(settings, teacher, prompts), usual))
    assert any(rollout.switch_position is not None for rollout in usual)


def test_order_does_not_change_a_rollout_and_the_seed_does(
    teacher: LocalTeacher, prompts: list[Prompt], usual: list[Rollout]
) -> None:
    reversed_order = roll_out(config(), teacher, prompts[::-1])[::-1]
    assert all(map(same, reversed_order, usual))
    other_seed = roll_out(config(seed=8), teacher, prompts)
    assert not all(map(same, other_seed, usual))


def test_the_same_prompt_under_another_id_is_another_rollout(
    teacher: LocalTeacher, prompts: list[Prompt], usual: list[Rollout]
) -> None:
    again = [replace(prompt, id=prompt.id + 100) for prompt in prompts]
    assert not all(map(same, usual, roll_out(config(), teacher, again)))


def test_the_same_run_twice_is_the_same_bit_for_bit(
    teacher: LocalTeacher, prompts: list[Prompt], usual: list[Rollout]
) -> None:
    for one, other in zip(usual, roll_out(config(), teacher, prompts), strict=True):
        assert one.completion_token_ids == other.completion_token_ids
        assert torch.equal(one.teacher.logprobs, other.teacher.logprobs)
        assert one.divergences == other.divergences


@pytest.mark.parametrize("kind", ["on_policy", "off_policy"])
def test_the_two_ends(teacher: LocalTeacher, prompts: list[Prompt], kind: str) -> None:
    document = config().model_dump() | {"policy": {"kind": kind}}
    for rollout in roll_out(parse_config(document), teacher, prompts):
        assert rollout.by_teacher.all() if kind == "off_policy" else not rollout.by_teacher.any()
        assert rollout.costs.wasted_tokens == 0
        assert (rollout.costs.student_tokens == 0) == (kind == "off_policy")
        assert len(rollout.teacher) == rollout.num_tokens > 0


HAND_BACK = [
    {"kind": "skd", "accept_top_k": 1},
    {"kind": "relay", "guide_tokens": 3, "judge": "probability", "min_probability": 0.5},
]


@pytest.mark.parametrize("policy", HAND_BACK, ids=lambda policy: policy["kind"])
def test_neither_group_nor_chunk_size_changes_a_rollout_with_many_turns(
    teacher: LocalTeacher, prompts: list[Prompt], policy: dict[str, object]
) -> None:
    expected = roll_out(config(policy=policy), teacher, prompts)
    for group_size, chunk_size in ((1, 1), (2, 40), (5, 3)):
        settings = config(policy=policy | {"chunk_size": chunk_size}, **{"student.group_size": group_size})
        assert all(map(same, roll_out(settings, teacher, prompts), expected))
    turns = sum(abs(np.diff(rollout.by_teacher.astype(int))).sum() for rollout in expected)
    assert turns > len(prompts)


TAKEN_OVER: list[dict[str, object]] = [
    {"kind": "ssd", "tau": 0.05},
    {"kind": "switch", "tau": 0.3},
    {"kind": "dash", "drift": 0.5, "recovery": 0.1, "allowed": 0.1},
    {"kind": "motab", "window": 2, "factor": 1.2, "floor": 0.0, "safe_share": 0.6, "guide_tokens": 3},
    {
        "kind": "relay_opd",
        "words": [";"],
        "student_top_k": 1,
        "ends": [";"],
        "paragraphs": 0,
        "then": "student",
    },
    {
        "kind": "take_over",
        "trigger": {"kind": "over_entropy", "factor": 0.5},
        "hold": {"kind": "until_low", "tau": 0.05},
        "cut": {"kind": "last_safe", "safe": 0.01},
    },
]


@pytest.mark.parametrize("policy", TAKEN_OVER, ids=lambda policy: policy["kind"])
def test_nothing_changes_a_rollout_that_is_taken_over(
    teacher: LocalTeacher, prompts: list[Prompt], policy: dict[str, object]
) -> None:
    short = {"student.max_new_tokens": 16}
    expected = roll_out(config(policy=policy, **short), teacher, prompts[:3])
    for group_size, chunk in ((1, {"chunk_size": 1}), (2, {"chunk_size": 5, "write_ahead": 1})):
        settings = config(policy=policy | chunk, **short, **{"student.group_size": group_size})
        assert all(map(same, roll_out(settings, teacher, prompts[:3]), expected))
    assert any(rollout.by_teacher.any() and not rollout.by_teacher.all() for rollout in expected)


def test_a_students_policy_knows_its_tokens(teacher: LocalTeacher) -> None:
    policy = {"kind": "take_over", "hold": {"kind": "sentence", "ends": [";"]}}
    bound = build_student(config(policy=policy), teacher, teacher.info).policy
    assert isinstance(bound, TakeOver)
    assert bound == TakeOver(hold=Sentence(ends=[";"])).bound(
        lambda: token_texts(load_tokenizer(STUDENT), 19)
    )
    with pytest.raises(ConfigError, match=r"policy\.hold\.ends"):
        build_student(config(policy=policy | {"hold": {"kind": "sentence"}}), teacher, teacher.info)


WRITERS = [{"kind": "adaswitch", "window": 4}, {"kind": "on_policy"}, *HAND_BACK]


@pytest.fixture(scope="module")
def expected(teacher: LocalTeacher, prompts: list[Prompt]) -> dict[str, list[Rollout]]:
    """Every prompt's rollout by each of the policies."""
    return {policy["kind"]: roll_out(config(policy=policy), teacher, prompts) for policy in WRITERS}


@hypothesis.settings(max_examples=12)
@hypothesis.given(
    policy=st.sampled_from(WRITERS),
    order=st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True),
    group_size=st.integers(1, 4),
    chunk_size=st.integers(1, 40),
)
def test_a_rollout_is_the_same_in_any_chunks_group_order_and_company(
    teacher: LocalTeacher,
    prompts: list[Prompt],
    expected: dict[str, list[Rollout]],
    policy: dict[str, object],
    order: list[int],
    group_size: int,
    chunk_size: int,
) -> None:
    if policy["kind"] != "on_policy":
        policy = policy | {"chunk_size": chunk_size}
    run = config(policy=policy, **{"student.group_size": group_size})
    rollouts = roll_out(run, teacher, [prompts[i] for i in order])
    assert all(map(same, rollouts, [expected[policy["kind"]][i] for i in order]))


@pytest.mark.parametrize("num_ahead", [1, 3])
@pytest.mark.parametrize("policy", [WRITERS[0], *HAND_BACK], ids=lambda policy: policy["kind"])
def test_what_is_written_ahead_changes_no_rollout(
    teacher: LocalTeacher,
    prompts: list[Prompt],
    expected: dict[str, list[Rollout]],
    policy: dict[str, object],
    num_ahead: int,
) -> None:
    settings = config(policy=policy | {"write_ahead": num_ahead, "chunk_size": 6})
    rollouts = roll_out(settings, teacher, prompts)
    assert all(map(same, rollouts, expected[policy["kind"]]))
    for rollout in rollouts:
        costs = rollout.costs
        assert costs.student_tokens - costs.wasted_tokens == int((~rollout.by_teacher).sum())
    assert sum(r.costs.student_tokens - r.costs.scored_tokens for r in rollouts) > 0


AHEAD = [policy | {"write_ahead": 1} for policy in HAND_BACK]
LOOKING = TAKEN_OVER[len(TAKEN_OVER) - 1]


@pytest.mark.parametrize("policy", [*HAND_BACK, *AHEAD, LOOKING], ids=lambda policy: policy["kind"])
def test_with_whom_a_prompt_is_written_on_is_no_matter_of_timing(
    teacher: LocalTeacher, prompts: list[Prompt], policy: dict[str, object]
) -> None:
    class SlowTeacher(LocalTeacher):
        async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
            for _ in range(50):
                await asyncio.sleep(0)
            return await super().generate(request)

    class Watched(LocalSource):
        async def _write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
            batches.append([(request.prompt.id, len(request.completion)) for request in requests])
            return await super()._write(requests)

    seen = []
    for one in (teacher, SlowTeacher(TEACHER)):
        batches: list[list[tuple[int, int]]] = []
        asyncio.run(Watched(config(policy=policy), one).roll_out(prompts))
        seen.append(batches)
    assert seen[0] == seen[1]
    assert len(seen[0]) > 3


def test_distributions_are_freed_before_the_next_chunks_are_written(
    teacher: LocalTeacher, prompts: list[Prompt]
) -> None:
    class Watched(LocalSource):
        async def _write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
            assert [kept() for kept in earlier] == [None] * len(earlier)
            chunks = await super()._write(requests)
            earlier.extend(weakref.ref(chunk.rows) for chunk in chunks)
            return chunks

    earlier: list[weakref.ref[object]] = []
    asyncio.run(Watched(config(**{"student.group_size": 7}), teacher).roll_out(prompts))
    assert len(earlier) > len(prompts)
    assert [kept() for kept in earlier] == [None] * len(earlier)


def test_costs_add_up(usual: list[Rollout]) -> None:
    for rollout in usual:
        costs: Costs = rollout.costs
        explored = rollout.num_tokens - int(rollout.by_teacher.sum())
        assert costs.student_tokens - costs.wasted_tokens == explored
        assert costs.teacher_tokens == int(rollout.by_teacher.sum())
        assert costs.scored_tokens == costs.student_tokens
        assert costs.write_s > 0
        assert costs.score_s > 0
