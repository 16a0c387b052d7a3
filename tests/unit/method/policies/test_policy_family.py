"""The other policies and the teacher's budget, against one slow reference that asks before every token."""

import asyncio
import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adaswitch.errors import ConfigError, DataError, TeacherProtocolError
from adaswitch.method.coins import prompt_coin
from adaswitch.method.distribution import TopK
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.base import Policy
from adaswitch.method.policies.dataset import Dataset
from adaswitch.method.policies.mixed import Mixed
from adaswitch.method.policies.off_policy import OffPolicy
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.policies.random_switch import RandomSwitch
from adaswitch.method.policies.relay import Relay
from adaswitch.method.policies.replay import Replay
from adaswitch.method.policies.skd import SKD
from adaswitch.method.policies.threshold import Threshold
from adaswitch.method.prompt import Prompt
from adaswitch.method.roll_out import roll_out
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.method.sampling import teacher_seed
from tests.fakes import FakeStudent, FakeTeacher
from tests.worlds import World, drawn, over, slow_divergence, worlds

TIE = 1e-4
HandBack = SKD | Relay
OneSwitch = Threshold | RandomSwitch | OffPolicy | OnPolicy


@dataclass
class Slow:
    """What the reference wrote; ``divergences`` of every token that the student proposed, by position."""

    tokens: list[int] = field(default_factory=list)
    by_teacher: list[bool] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    divergences: dict[int, float] = field(default_factory=dict)
    ending: Ending = Ending.LENGTH


def token_by_token(world: World, policy: HandBack | OneSwitch) -> Slow:
    """One token after the other; before each, both models are asked."""
    slow = Slow()
    prompt = list(world.prompt.token_ids)
    limit = math.inf if world.max_teacher_tokens is None else world.max_teacher_tokens
    place = slow_place(policy, world) if isinstance(policy, RandomSwitch) else None
    while not over(slow.tokens, world):
        position = len(slow.tokens)
        p = world.teacher(prompt + slow.tokens).double().exp().tolist()
        q = world.student(prompt + slow.tokens).double().exp().tolist()
        proposal = drawn(q, world.seed, world.prompt.id, position)
        if not isinstance(policy, OffPolicy):
            slow.divergences[position] = slow_divergence(metric_of(policy), p, q, world.k)
        may_switch = sum(slow.by_teacher) < limit
        if not (may_switch and to_teacher(policy, world, p, proposal, slow, place)):
            put(slow, proposal, p, by_teacher=False)
            continue
        seed = teacher_seed(world.seed, world.prompt.id, position)
        while not over(slow.tokens, world) and len(slow.tokens) - position < turn_of(policy):
            if sum(slow.by_teacher) >= limit:
                break
            p = world.teacher(prompt + slow.tokens).double().exp().tolist()
            put(slow, drawn(p, seed, 0, len(slow.tokens) - position), p, by_teacher=True)
        if not isinstance(policy, HandBack):
            break
    if slow.tokens[len(slow.tokens) - 1] in world.stop_token_ids:
        slow.ending = Ending.STOP
    elif not over(slow.tokens, world):
        slow.ending = Ending.BUDGET
    return slow


def metric_of(policy: HandBack | OneSwitch) -> str:
    return policy.metric if isinstance(policy, Threshold) else "forward_kl"


def turn_of(policy: HandBack | OneSwitch) -> float:
    if isinstance(policy, SKD):
        return 1
    return policy.guide_tokens if isinstance(policy, Relay) else math.inf


def to_teacher(
    policy: HandBack | OneSwitch, world: World, p: list[float], proposal: int, slow: Slow, place: int | None
) -> bool:
    by_probability = sorted(range(len(p)), key=lambda token: -p[token])
    position = len(slow.tokens)
    match policy:
        case OffPolicy():
            return True
        case OnPolicy():
            return False
        case RandomSwitch():
            return position == place
        case SKD() | Relay(judge="top_k"):
            return proposal not in by_probability[: policy.accept_top_k]
        case Relay(judge="probability"):
            assume(abs(p[proposal] - policy.min_probability) > TIE)
            return p[proposal] < policy.min_probability or proposal not in by_probability[: world.k]
        case _:
            assume(abs(slow.divergences[position] - policy.tau) > TIE)
            return slow.divergences[position] > policy.tau


def slow_place(policy: RandomSwitch, world: World) -> int | None:
    coin = prompt_coin(world.seed, world.prompt.id)
    for place in range(len(policy.positions)):
        before = math.fsum(policy.positions[:place])
        if before <= coin < before + policy.positions[place]:
            return place
    return None


def put(slow: Slow, token: int, p: list[float], *, by_teacher: bool) -> None:
    slow.tokens.append(token)
    slow.by_teacher.append(by_teacher)
    slow.rows.append(p)


def assert_same(rollout: Rollout, slow: Slow, world: World) -> None:
    assert list(rollout.completion_token_ids) == slow.tokens
    assert rollout.by_teacher.tolist() == slow.by_teacher
    assert rollout.ending is slow.ending
    for ids, logprobs, p in zip(rollout.teacher.ids, rollout.teacher.logprobs, slow.rows, strict=True):
        assert set(ids.tolist()) == set(sorted(range(len(p)), key=lambda token: -p[token])[: world.k])
        assert logprobs.exp().tolist() == pytest.approx([p[i] for i in ids.tolist()], rel=1e-5)
    costs, num_teacher = rollout.costs, sum(slow.by_teacher)
    assert costs.teacher_tokens == num_teacher
    assert costs.student_tokens - costs.wasted_tokens == len(slow.tokens) - num_teacher
    assert costs.scored_tokens == costs.student_tokens
    if world.max_teacher_tokens is not None:
        assert num_teacher <= world.max_teacher_tokens
    # Divergences are those of tokens 0, 1, .. up to the first place where the student was not asked.
    num_watched = next(i for i in range(len(slow.tokens) + 1) if i not in slow.divergences)
    expected = [slow.divergences[i] for i in range(num_watched)]
    assert list(rollout.divergences) == pytest.approx(expected, rel=1e-4, abs=2e-6)


WORLDS = worlds(World)
CHUNKS = st.integers(1, 30)
METRICS = st.sampled_from(["forward_kl", "reverse_kl", "jsd"])
SKDS = st.builds(SKD, accept_top_k=st.integers(1, 3), chunk_size=CHUNKS)
GUIDE = st.integers(1, 6)
RELAY = st.one_of(
    st.builds(Relay, guide_tokens=GUIDE, tau=st.sampled_from([0.0, 0.05, 0.3]), chunk_size=CHUNKS),
    st.builds(
        Relay,
        guide_tokens=GUIDE,
        judge=st.just("top_k"),
        accept_top_k=st.integers(1, 3),
        chunk_size=CHUNKS,
    ),
    st.builds(
        Relay,
        guide_tokens=GUIDE,
        judge=st.just("probability"),
        min_probability=st.sampled_from([0.02, 0.1, 0.3]),
        chunk_size=CHUNKS,
    ),
)
THRESHOLD = st.builds(
    Threshold, tau=st.sampled_from([0.0, 0.05, 0.3, 1.0]), metric=METRICS, chunk_size=CHUNKS
)
RANDOM = st.builds(
    RandomSwitch,
    positions=st.sampled_from([[], [1.0], [0.0, 0.0, 1.0], [0.25] * 4, [0.04] * 20, [0.0] * 30 + [0.9]]),
)


@settings(max_examples=300)
@given(WORLDS, SKDS)
def test_speculative_kd_in_chunks_equals_judging_every_token(world: World, policy: SKD) -> None:
    rollout, _, teacher = world.roll_out(policy)
    assert_same(rollout, token_by_token(world, policy), world)
    assert {num for kind, _, num in teacher.calls if kind == "generate"} <= {1}


@settings(max_examples=300)
@given(WORLDS, RELAY)
def test_relay_in_chunks_equals_judging_every_token(world: World, policy: Relay) -> None:
    rollout, _, _ = world.roll_out(policy)
    assert_same(rollout, token_by_token(world, policy), world)
    assert rollout.ending is not Ending.BUDGET


@given(WORLDS, CHUNKS, st.integers(1, 3))
def test_speculative_kd_is_relay_that_hands_back_at_once(world: World, chunk_size: int, num: int) -> None:
    skd, _, _ = world.roll_out(SKD(accept_top_k=num, chunk_size=chunk_size))
    policy = Relay(judge="top_k", accept_top_k=num, guide_tokens=1, chunk_size=9)
    relay, _, _ = world.roll_out(policy)
    assert skd.completion_token_ids == relay.completion_token_ids
    assert skd.by_teacher.tolist() == relay.by_teacher.tolist()


@settings(max_examples=200)
@given(WORLDS, THRESHOLD)
def test_a_fixed_threshold(world: World, policy: Threshold) -> None:
    rollout, _, _ = world.roll_out(policy)
    assert_same(rollout, token_by_token(world, policy), world)
    assert set(rollout.thresholds) <= {policy.tau}


@settings(max_examples=200)
@given(WORLDS, RANDOM)
def test_a_switch_at_a_place_that_was_drawn(world: World, policy: RandomSwitch) -> None:
    rollout, _, _ = world.roll_out(policy)
    slow = token_by_token(world, policy)
    assert_same(rollout, slow, world)
    # One token is thrown away: the one whose divergence at the switch is shown.
    assert rollout.costs.wasted_tokens == (1 if any(slow.by_teacher) else 0)
    if any(slow.by_teacher):
        assert rollout.thresholds[rollout.switch_position] == -math.inf


@given(WORLDS)
def test_off_policy_and_on_policy_within_the_budget(world: World) -> None:
    for policy in (OffPolicy(), OnPolicy()):
        rollout, _, _ = world.roll_out(policy)
        assert_same(rollout, token_by_token(world, policy), world)


@given(WORLDS, CHUNKS)
def test_the_budget_cuts_adaswitch_where_it_is_spent_and_changes_nothing_before(
    world: World, chunk_size: int
) -> None:
    policy = AdaSwitch(window=2, factor=1.5, chunk_size=chunk_size)
    cut, _, _ = world.roll_out(policy)
    free, _, _ = replace(world, max_teacher_tokens=None).roll_out(policy)
    num_explored = free.num_tokens - int(free.by_teacher.sum())
    limit = free.num_tokens if world.max_teacher_tokens is None else world.max_teacher_tokens
    num_kept = min(free.num_tokens, num_explored + limit)
    assert cut.completion_token_ids == free.completion_token_ids[:num_kept]
    assert cut.by_teacher.tolist() == free.by_teacher.tolist()[:num_kept]
    assert torch.equal(cut.teacher.logprobs, free.teacher.logprobs[:num_kept])
    assert cut.ending is (free.ending if num_kept == free.num_tokens else Ending.BUDGET)
    assert cut.divergences == free.divergences


def test_a_budget_that_ends_where_the_completion_does_is_no_cut() -> None:
    world = World(0, 7, 7, max_new_tokens=5)
    for limit, ending in ((4, Ending.BUDGET), (5, Ending.LENGTH), (6, Ending.LENGTH)):
        rollout, _, _ = replace(world, max_teacher_tokens=limit).roll_out(OffPolicy())
        assert (rollout.num_tokens, rollout.ending) == (min(limit, 5), ending)


def test_once_the_budget_is_spent_the_student_goes_on_alone_and_unjudged() -> None:
    world = World(3, 7, 7, max_new_tokens=20, gap=3.0, max_teacher_tokens=2)
    policy = SKD(accept_top_k=1, chunk_size=4)
    rollout, student, _ = world.roll_out(policy)
    assert rollout.by_teacher.sum() == 2
    assert (rollout.num_tokens, rollout.ending) == (20, Ending.LENGTH)
    last = int(rollout.by_teacher.nonzero()[0].max())
    assert student.calls[len(student.calls) - 1] == (last + 1, 19 - last)
    free, _, _ = replace(world, max_teacher_tokens=None).roll_out(policy)
    assert free.by_teacher.sum() > 2


def test_a_share_of_no_token_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt 4: max_teacher_tokens is 0"):
        Prompt(4, (1,), max_teacher_tokens=0)
    with pytest.raises(ValueError, match=r"prompt 4: the coin 1\.0"):
        Prompt(4, (1,), coin=1.0)


def test_the_worlds_hand_the_pen_back_and_forth() -> None:
    """So that the properties above have seen what they are about."""
    turns = set()
    for seed in range(20):
        rollout, _, _ = World(seed, 7, 4, 24).roll_out(SKD(accept_top_k=2, chunk_size=5))
        flags = rollout.by_teacher.tolist()
        turns.add(sum(a != b for a, b in pairwise(flags)))
    assert len(turns) > 5


def test_no_candidate_is_worse_than_known() -> None:
    world = World(0, 7, k=2, max_new_tokens=5)
    with pytest.raises(ConfigError, match="accept_top_k 3 is more than the 2 candidates"):
        world.roll_out(SKD(accept_top_k=3))


@given(WORLDS, st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_the_data_sets_own_answer_is_scored_in_one_request(world: World, reference: list[int]) -> None:
    world = replace(world, reference=tuple(reference))
    rollout, student, teacher = world.roll_out(Dataset())
    expected = reference[: world.max_new_tokens]
    assert list(rollout.completion_token_ids) == expected
    assert rollout.by_teacher.all()
    assert rollout.divergences == ()
    assert student.calls == []
    assert teacher.calls == [("score", 0, len(expected))]
    costs = rollout.costs
    assert (costs.scored_tokens, costs.student_tokens, costs.teacher_tokens) == (len(expected), 0, 0)
    stopped = expected[len(expected) - 1] in world.stop_token_ids
    assert rollout.ending is (Ending.STOP if stopped else Ending.LENGTH)
    for i, (ids, logprobs) in enumerate(zip(rollout.teacher.ids, rollout.teacher.logprobs, strict=True)):
        p = world.teacher([*world.prompt.token_ids, *expected[:i]])
        assert torch.equal(p[ids], logprobs)


def test_without_a_reference_there_is_no_rollout_of_the_data_sets() -> None:
    with pytest.raises(DataError, match=r"training data, line 1: .* without a reference"):
        World(0, 7, 7, 5).roll_out(Dataset())


def test_a_teacher_that_scores_too_few_of_the_reference_is_refused() -> None:
    class Teacher(FakeTeacher):
        async def score(self, prompt: Prompt, completion: list[int], start: int) -> TopK:
            return await super().score(prompt, completion[:-1], start)

    world = World(0, 7, 7, 5, reference=(1, 2, 3))
    roles = FakeStudent(world.student, 0), Teacher(world.teacher, 7, 0)
    with pytest.raises(TeacherProtocolError, match="3 tokens were to be scored, the teacher gave 2 rows"):
        asyncio.run(roll_out(Dataset(), world.prompt, *roles, world.budget))


@pytest.mark.parametrize("other", ["teacher", "dataset"])
@given(world=WORLDS, fraction=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_mixed_is_one_of_its_sides_by_the_coin(other: str, world: World, fraction: float) -> None:
    world = replace(world, reference=(3, 1, 4, 0))
    rollout, _, _ = world.roll_out(Mixed(student_fraction=fraction, other=other))
    side: Policy = OffPolicy() if other == "teacher" else Dataset()
    if prompt_coin(world.seed, world.prompt.id) < fraction:
        side = OnPolicy()
    same, _, _ = world.roll_out(side)
    assert rollout.completion_token_ids == same.completion_token_ids
    assert rollout.by_teacher.tolist() == same.by_teacher.tolist()
    assert torch.equal(rollout.teacher.logprobs, same.teacher.logprobs)


@pytest.mark.parametrize("policy", [Mixed(), RandomSwitch(positions=[0.5])])
def test_a_prompt_without_a_coin_is_refused(policy: Policy) -> None:
    world = World(0, 7, 7, 5)
    roles = FakeStudent(world.student, 0), FakeTeacher(world.teacher, 7, 0)
    with pytest.raises(ValueError, match="prompt 5 comes without a coin"):
        asyncio.run(roll_out(policy, Prompt(5, (1,)), *roles, world.budget))


def test_what_is_not_resolved_or_writes_nothing_is_refused() -> None:
    world = World(0, 7, 7, 5)
    with pytest.raises(ValueError, match="from_run has not been resolved"):
        world.roll_out(RandomSwitch(from_run="runs/one"))
    with pytest.raises(ConfigError, match="replay reads rollouts"):
        world.roll_out(Replay(run="runs/one"))
