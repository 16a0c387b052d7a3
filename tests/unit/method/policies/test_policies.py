"""The rollout policies against a slow reference that asks the teacher after every token, from the paper's text."""

import asyncio
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adaswitch.method.distribution import TopK
from adaswitch.method.draft import NUM_SHOWN
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.off_policy import OffPolicy
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget
from adaswitch.method.roll_out import roll_out
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.method.sampling import teacher_seed
from tests.fakes import FakeStudent, FakeTeacher, Model
from tests.worlds import World, drawn, over, slow_divergence

INF = math.inf


@dataclass
class Reference:
    """What the reference implementation wrote and saw."""

    tokens: list[int] = field(default_factory=list)
    by_teacher: list[bool] = field(default_factory=list)
    divergences: list[float] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    """The teacher's full log-probabilities at every token."""
    student_path: list[int] = field(default_factory=list)
    """What the student would have written by itself."""


def token_by_token(world: World, policy: AdaSwitch | None) -> Reference:
    """Exploration with a look at both models before each token, then guidance; no policy is guidance alone."""
    reference = Reference()
    prompt = list(world.prompt.token_ids)
    own = world.seed, world.prompt.id
    exploring = policy is not None
    while exploring and not over(reference.tokens, world):
        p = world.teacher(prompt + reference.tokens).double().exp().tolist()
        q = world.student(prompt + reference.tokens).double().exp().tolist()
        d_i = slow_divergence(policy.metric, p, q, world.k)
        tau_i = INF
        if len(reference.divergences) >= policy.window:
            last = [reference.divergences[len(reference.divergences) - 1 - j] for j in range(policy.window)]
            tau_i = max(policy.factor * sum(last) / policy.window, policy.floor)
        reference.divergences.append(d_i)
        reference.thresholds.append(tau_i)
        if d_i > tau_i:
            exploring = False
        else:
            add(reference, drawn(q, *own, len(reference.tokens)), p, by_teacher=False)
    position = len(reference.tokens)
    guidance = teacher_seed(*own, position), 0
    while not over(reference.tokens, world):
        p = world.teacher(prompt + reference.tokens).double().exp().tolist()
        add(reference, drawn(p, *guidance, len(reference.tokens) - position), p, by_teacher=True)
    while not over(reference.student_path, world):
        q = world.student(prompt + reference.student_path).double().exp().tolist()
        reference.student_path.append(drawn(q, *own, len(reference.student_path)))
    return reference


def add(reference: Reference, token: int, p: list[float], *, by_teacher: bool) -> None:
    reference.tokens.append(token)
    reference.by_teacher.append(by_teacher)
    reference.rows.append(p)


def assert_same(rollout: Rollout, reference: Reference, world: World) -> None:
    assert list(rollout.completion_token_ids) == reference.tokens
    assert rollout.by_teacher.tolist() == reference.by_teacher
    assert list(rollout.divergences) == pytest.approx(reference.divergences, rel=1e-4, abs=2e-6)
    assert list(rollout.thresholds) == pytest.approx(reference.thresholds, rel=1e-4, abs=1e-4)
    expected = reference.by_teacher.index(True) if True in reference.by_teacher else None
    assert rollout.switch_position == expected
    stopped = reference.tokens[len(reference.tokens) - 1] in world.stop_token_ids
    assert rollout.ending is (Ending.STOP if stopped else Ending.LENGTH)
    assert rollout.teacher.k == world.k
    assert rollout.teacher.vocab_size == world.vocab_size
    for ids, logprobs, p in zip(rollout.teacher.ids, rollout.teacher.logprobs, reference.rows, strict=True):
        assert set(ids.tolist()) == set(sorted(range(len(p)), key=lambda token: -p[token])[: world.k])
        assert logprobs.exp().tolist() == pytest.approx([p[i] for i in ids.tolist()], rel=1e-5)


def assert_costs(rollout: Rollout, reference: Reference, chunk_size: int) -> None:
    """All chunks are whole but the last one of what the student would have written by itself."""
    num_explored = reference.by_teacher.count(False)
    crossed = len(reference.divergences) > num_explored
    if crossed:
        num_chunks = num_explored // chunk_size + 1
        student_tokens = min(num_chunks * chunk_size, len(reference.student_path))
    else:
        student_tokens = num_explored
    assert rollout.costs.student_tokens == student_tokens
    assert rollout.costs.wasted_tokens == student_tokens - num_explored
    assert rollout.costs.scored_tokens == student_tokens
    assert rollout.costs.teacher_tokens == reference.by_teacher.count(True)


def assume_no_tie(reference: Reference) -> None:
    """float32 and float64 may see a divergence on different sides of a threshold that it all but equals."""
    pairs = zip(reference.divergences, reference.thresholds, strict=True)
    assume(all(abs(d - tau) > 1e-4 * (1 + d) for d, tau in pairs))


WORLDS = st.builds(
    World,
    seed=st.integers(0, 10**6),
    vocab_size=st.just(7),
    k=st.integers(1, 7),
    max_new_tokens=st.integers(1, 24),
    stop_token_ids=st.sampled_from([frozenset(), frozenset({0}), frozenset({2, 5})]),
    gap=st.sampled_from([0.3, 1.0, 3.0]),
)
POLICIES = st.builds(
    AdaSwitch,
    window=st.integers(1, 10),
    factor=st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 20.0]),
    floor=st.sampled_from([0.0, 0.0, 0.1, 1.0]),
    metric=st.sampled_from(["forward_kl", "reverse_kl", "jsd"]),
    chunk_size=st.integers(1, 30),
)


@settings(max_examples=400)
@given(WORLDS, POLICIES)
def test_exploring_in_chunks_equals_asking_after_every_token(world: World, policy: AdaSwitch) -> None:
    reference = token_by_token(world, policy)
    assume_no_tie(reference)
    rollout, student, teacher = world.roll_out(policy)
    assert_same(rollout, reference, world)
    assert_costs(rollout, reference, policy.chunk_size)
    num_chunks = math.ceil(rollout.costs.student_tokens / policy.chunk_size)
    scored = [call for call in teacher.calls if call[0] == "score"]
    assert len(student.calls) == len(scored) == num_chunks
    assert len(teacher.calls) - num_chunks == (1 if reference.by_teacher.count(True) else 0)


@given(WORLDS, POLICIES, st.integers(1, 30))
def test_the_chunk_size_changes_the_costs_alone(world: World, policy: AdaSwitch, other_size: int) -> None:
    assume_no_tie(token_by_token(world, policy))
    one, _, _ = world.roll_out(policy)
    two, _, _ = world.roll_out(policy.model_copy(update={"chunk_size": other_size}))
    assert one.completion_token_ids == two.completion_token_ids
    assert one.by_teacher.tolist() == two.by_teacher.tolist()
    assert one.divergences == pytest.approx(two.divergences, rel=1e-5, abs=1e-7)
    assert one.thresholds == pytest.approx(two.thresholds, rel=1e-5, abs=1e-6)
    assert torch.equal(one.teacher.ids, two.teacher.ids)
    assert torch.equal(one.teacher.logprobs, two.teacher.logprobs)
    assert one.ending == two.ending


def test_random_worlds_switch_early_late_and_never() -> None:
    """So that the properties above have seen what they are about."""
    positions, stops_explored = [], 0
    for seed in range(60):
        world = World(seed, 7, 4, 24, frozenset({0}))
        rollout, _, _ = world.roll_out(AdaSwitch(window=3, factor=4.0, chunk_size=5))
        positions.append(rollout.switch_position)
        stops_explored += rollout.ending is Ending.STOP and rollout.switch_position is None
    places = [position for position in positions if position is not None]
    assert 10 <= len(places) <= 50
    assert min(places) == 3
    assert max(places) > 8
    assert stops_explored > 5


@given(WORLDS, st.integers(1, 30))
def test_on_policy_is_adaswitch_that_never_switches(world: World, chunk_size: int) -> None:
    reference = token_by_token(world, AdaSwitch(window=world.max_new_tokens))
    rollout, _, teacher = world.roll_out(OnPolicy())
    assert_same(rollout, reference, world)
    assert rollout.switch_position is None
    assert set(rollout.thresholds) == {INF}
    assert [call[0] for call in teacher.calls] == ["score"]
    for policy in (
        AdaSwitch(window=world.max_new_tokens, chunk_size=chunk_size),
        AdaSwitch(window=1, factor=1e-9, floor=1e9, chunk_size=chunk_size),
    ):
        same, _, _ = world.roll_out(policy)
        assert same.completion_token_ids == rollout.completion_token_ids
        assert same.costs.wasted_tokens == same.costs.teacher_tokens == 0
        assert torch.equal(same.teacher.ids, rollout.teacher.ids)


@given(WORLDS)
def test_off_policy_is_all_the_teachers(world: World) -> None:
    rollout, student, teacher = world.roll_out(OffPolicy())
    assert_same(rollout, token_by_token(world, None), world)
    assert rollout.by_teacher.all()
    assert rollout.switch_position == 0
    assert student.calls == []
    assert teacher.calls == [("generate", 0, world.max_new_tokens)]
    assert rollout.costs.student_tokens == rollout.costs.scored_tokens == rollout.costs.wasted_tokens == 0
    assert rollout.costs.teacher_tokens == rollout.num_tokens


# Hand-made models over 3 tokens: the student always writes 1; the teacher is as far away as the table says.
# The stop token is 0, the teacher prefers 2.


def table_models(distances: Sequence[float], num_prompt: int) -> tuple[Model, Model]:
    """``distances[i]``: log-odds by which the teacher prefers 2 at position i of the completion."""

    def student(token_ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([-40.0, 0.0, -40.0]).log_softmax(-1)

    def teacher(token_ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([-40.0, 0.0, distances[len(token_ids) - num_prompt] - 40.0]).log_softmax(-1)

    return student, teacher


def roll_out_table(
    distances: Sequence[float], policy: AdaSwitch, stop_token_ids: Collection[int] = (0,)
) -> tuple[Rollout, FakeTeacher]:
    prompt = Prompt(0, (1, 1))
    student, teacher = table_models(distances, 2)
    fake = FakeTeacher(teacher, 3, 0, stop_token_ids)
    rollout = asyncio.run(
        roll_out(
            policy,
            prompt,
            FakeStudent(student, 0, stop_token_ids),
            fake,
            Budget(len(distances), stop_token_ids),
        )
    )
    return rollout, fake


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("place", range(2, 6))
def test_a_switch_at_every_place_of_a_chunk(place: int, chunk_size: int) -> None:
    distances = [45.0 if i == place else 40.0 for i in range(6)]
    policy = AdaSwitch(window=2, factor=1.5, chunk_size=chunk_size)
    rollout, teacher = roll_out_table(distances, policy)
    assert rollout.switch_position == place
    assert rollout.by_teacher.tolist() == [i >= place for i in range(6)]
    assert len(rollout.divergences) == len(rollout.thresholds) == place + 1
    assert teacher.calls[len(teacher.calls) - 1] == ("generate", place, 6 - place)
    num_written = min(6, chunk_size * (place // chunk_size + 1))
    assert rollout.costs.wasted_tokens == num_written - place


@pytest.mark.parametrize("chunk_size", [1, 4])
def test_the_earliest_switch_is_at_step_window_plus_one(chunk_size: int) -> None:
    rollout, _ = roll_out_table([30.0, 45.0, 45.0], AdaSwitch(window=1, chunk_size=chunk_size))
    assert rollout.switch_position == 1


def test_a_window_longer_than_the_completion_never_switches() -> None:
    rollout, teacher = roll_out_table([0.0, 60.0, 60.0], AdaSwitch(window=3, factor=0.1))
    assert rollout.switch_position is None
    assert {call[0] for call in teacher.calls} == {"score"}


def test_a_completion_that_ends_with_its_first_token() -> None:
    rollout, teacher = roll_out_table([40.0, 45.0], AdaSwitch(window=1), stop_token_ids={1})
    assert rollout.completion_token_ids == (1,)
    assert rollout.ending is Ending.STOP
    assert rollout.costs.student_tokens == 1
    assert teacher.calls == [("score", 0, 1)]


def test_a_switch_at_the_students_stop_token_hands_that_place_to_the_teacher() -> None:
    def student(token_ids: Sequence[int]) -> torch.Tensor:
        wanted = 0 if len(token_ids) == 3 else 1
        return torch.tensor([0.0 if i == wanted else -40.0 for i in range(3)]).log_softmax(-1)

    def teacher(token_ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([-40.0, 0.0 if len(token_ids) < 3 else -40.0, -1.0]).log_softmax(-1)

    roles = FakeStudent(student, 0, {0}), FakeTeacher(teacher, 3, 0, {0})
    policy = AdaSwitch(window=1, chunk_size=8)
    rollout = asyncio.run(roll_out(policy, Prompt(0, (1, 1)), *roles, Budget(4, {0})))
    assert rollout.completion_token_ids == (1, 2, 2, 2)
    assert rollout.switch_position == 1
    assert rollout.ending is Ending.LENGTH
    assert (rollout.costs.student_tokens, rollout.costs.wasted_tokens) == (2, 1)


def test_waiting_is_on_the_books() -> None:
    class SlowTeacher(FakeTeacher):
        async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
            await asyncio.sleep(0.02)
            return await super().score(prompt, completion, start)

    world = World(0, 7, 7, 4)
    teacher = SlowTeacher(world.teacher, 7, 0)
    student = FakeStudent(world.student, 0)
    policy = AdaSwitch(window=9, chunk_size=2)
    costs = asyncio.run(roll_out(policy, world.prompt, student, teacher, world.budget)).costs
    assert costs.score_s >= 0.04
    assert costs.generate_s == 0
    assert costs.write_s > 0


@given(WORLDS, POLICIES)
def test_the_students_likeliest_candidates_are_kept_where_a_divergence_was_seen(
    world: World, policy: AdaSwitch
) -> None:
    rollout, _, _ = world.roll_out(policy)
    top = rollout.student_top
    assert top is not None
    assert top.ids.shape == (len(rollout.divergences), min(NUM_SHOWN, world.k))
    tokens = [*world.prompt.token_ids, *rollout.completion_token_ids]
    for i, (ids, logprobs) in enumerate(zip(top.ids.tolist(), top.logprobs.tolist(), strict=True)):
        before = tokens[: len(world.prompt.token_ids) + i]
        own, p = world.student(before), world.teacher(before)
        among = p.topk(world.k).indices.tolist()
        assert logprobs == pytest.approx(sorted(own[among].tolist(), reverse=True)[: len(ids)], abs=1e-5)
        assert own[ids].tolist() == pytest.approx(logprobs, abs=1e-5)
        assert set(ids) <= set(among)
