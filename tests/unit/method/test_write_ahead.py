"""Chunks that are written ahead: the same rollout token for token, nothing left behind, and all of it on the books."""

import asyncio
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaswitch.errors import ModelError, TeacherProtocolError
from adaswitch.method.distribution import TopK
from adaswitch.method.policies import POLICIES
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.base import Policy
from adaswitch.method.policies.custom import CustomPolicy
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.policies.random_switch import RandomSwitch
from adaswitch.method.policies.relay import Relay
from adaswitch.method.policies.shared_scale import SharedScale
from adaswitch.method.policies.skd import SKD
from adaswitch.method.policies.threshold import Threshold
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk
from adaswitch.method.roll_out import roll_out
from adaswitch.method.rollout import Rollout
from tests.continuous import Pace, SlowStudent, SlowTeacher
from tests.ways import PRESETS, take_overs
from tests.worlds import World, worlds

CHUNKS = st.integers(1, 9)
GUIDE = st.integers(1, 5)
POLICY = st.one_of(
    st.builds(
        AdaSwitch, window=st.integers(1, 6), factor=st.sampled_from([1.0, 3.0, 9.0]), chunk_size=CHUNKS
    ),
    st.builds(Threshold, tau=st.sampled_from([0.0, 0.05, 0.3, 1.0]), chunk_size=CHUNKS),
    st.builds(SharedScale, factor=st.sampled_from([1.0, 4.0]), chunk_size=CHUNKS),
    st.builds(RandomSwitch, positions=st.sampled_from([[], [1.0], [0.25] * 4, [0.05] * 20])),
    st.builds(SKD, accept_top_k=st.integers(1, 3), chunk_size=CHUNKS),
    st.builds(Relay, guide_tokens=GUIDE, tau=st.sampled_from([0.0, 0.05, 0.3]), chunk_size=CHUNKS),
    st.builds(
        Relay, guide_tokens=GUIDE, judge=st.just("top_k"), accept_top_k=st.integers(1, 3), chunk_size=CHUNKS
    ),
    st.builds(
        Relay,
        guide_tokens=GUIDE,
        judge=st.just("probability"),
        min_probability=st.sampled_from([0.02, 0.1, 0.3]),
        chunk_size=CHUNKS,
    ),
    st.builds(CustomPolicy, path=st.just("tests.own_rules:Restless")),
    st.just(OnPolicy()),
    take_overs(),
    PRESETS,
)


@dataclass(frozen=True)
class SlowWorld(World):
    """A world whose prompt has a scale, and in which both models take their time."""

    @property
    def prompt(self) -> Prompt:
        return replace(super().prompt, divergence_scale=0.05)

    def roles(self, pace: Pace | None = None, keeps: int | None = None) -> tuple[SlowStudent, SlowTeacher]:
        pace = pace or Pace(0, 0)
        return (
            SlowStudent(self.student, self.seed, self.stop_token_ids, pace=pace, keeps=keeps),
            SlowTeacher(self.teacher, self.k, self.seed, self.stop_token_ids, pace=pace),
        )

    async def one(self, policy: Policy, student: SlowStudent, teacher: SlowTeacher, auto: int = 0) -> Rollout:
        before = asyncio.all_tasks()
        try:
            return await roll_out(policy, self.prompt, student, teacher, self.budget, auto)
        finally:
            assert asyncio.all_tasks() <= before, "a task was left behind"
            assert student.writing == 0


WORLDS = worlds(SlowWorld)


def assert_same(one: Rollout, other: Rollout) -> None:
    """The same in all but what it cost, to the last bit."""
    assert one.completion_token_ids == other.completion_token_ids
    assert one.by_teacher.tolist() == other.by_teacher.tolist()
    assert (one.divergences, one.thresholds) == (other.divergences, other.thresholds)
    assert torch.equal(one.teacher.ids, other.teacher.ids)
    assert torch.equal(one.teacher.logprobs, other.teacher.logprobs)
    assert one.ending is other.ending


@settings(max_examples=300)
@given(WORLDS, POLICY, st.integers(0, 4), st.integers(0, 10**6), st.sampled_from([0, 3, 12]))
def test_what_is_written_ahead_changes_no_rollout(
    world: SlowWorld, policy: Policy, num_ahead: int, seed: int, most_turns: int
) -> None:
    plain_student, plain_teacher = world.roles()
    plain = asyncio.run(world.one(policy, plain_student, plain_teacher))
    student, teacher = world.roles(Pace(seed, most_turns))
    ahead = asyncio.run(world.one(policy, student, teacher, auto=num_ahead))
    assert_same(ahead, plain)
    assert teacher.calls == plain_teacher.calls
    costs, explored = ahead.costs, ahead.num_tokens - int(ahead.by_teacher.sum())
    assert costs.student_tokens - costs.wasted_tokens == explored
    assert costs.scored_tokens == plain.costs.scored_tokens
    assert costs.teacher_tokens == plain.costs.teacher_tokens
    assert costs.wasted_tokens >= plain.costs.wasted_tokens
    if num_ahead == 0:
        assert costs.wasted_tokens == plain.costs.wasted_tokens
        assert student.calls == plain_student.calls


@settings(max_examples=100)
@given(WORLDS, POLICY, st.integers(1, 3), st.integers(0, 10**6))
def test_nor_with_a_student_that_keeps_few_tokens_at_a_time(
    world: SlowWorld, policy: Policy, num_ahead: int, seed: int
) -> None:
    plain = asyncio.run(world.one(policy, *world.roles()))
    ahead = asyncio.run(world.one(policy, *world.roles(Pace(seed, 5), keeps=3), auto=num_ahead))
    assert ahead.completion_token_ids == plain.completion_token_ids
    assert ahead.by_teacher.tolist() == plain.by_teacher.tolist()
    assert ahead.divergences == pytest.approx(plain.divergences)
    assert ahead.costs.student_tokens - ahead.costs.wasted_tokens == int((~ahead.by_teacher).sum())


def test_every_policy_that_has_chunks_has_the_setting() -> None:
    chunked = {
        "adaswitch",
        "threshold",
        "shared_scale",
        "random_switch",
        "skd",
        "relay",
        "custom",
        *TAKE_OVERS,
    }
    have = {
        policy.model_fields["kind"].default for policy in POLICIES if "write_ahead" in policy.model_fields
    }
    assert have == chunked
    assert {
        policy.model_fields["kind"].default for policy in POLICIES if "chunk_size" in policy.model_fields
    } <= have
    assert OnPolicy().chunks_ahead == 0
    assert SKD().chunks_ahead == "auto"


TAKE_OVERS = {"take_over", "ssd", "switch", "dash", "relay_opd", "motab"}
WIDE = SlowWorld(seed=3, vocab_size=7, k=7, max_new_tokens=20)
NEVER = AdaSwitch(window=20, chunk_size=5)
AT_SEVEN = {"window": 7, "factor": 1e-9, "chunk_size": 5}


class Meetings(SlowTeacher):
    """A teacher that notes how much the student had been asked for when it was asked, and when it answers."""

    student: SlowStudent
    seen: list[tuple[int, int]]

    async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
        before = len(self.student.calls)
        for _ in range(30):
            await asyncio.sleep(0)
        self.seen.append((before, len(self.student.calls)))
        return await super().score(prompt, completion, start)


@pytest.mark.parametrize(
    ("num_ahead", "expected"),
    [
        (0, [(1, 1), (2, 2), (3, 3), (4, 4)]),
        (1, [(1, 2), (2, 3), (3, 4), (4, 4)]),
        (2, [(1, 3), (3, 4), (4, 4), (4, 4)]),
        (9, [(1, 4), (4, 4), (4, 4), (4, 4)]),
    ],
)
def test_while_a_chunk_is_scored_the_next_ones_are_written_and_no_more(
    num_ahead: int, expected: list[tuple[int, int]]
) -> None:
    student, _ = WIDE.roles()
    teacher = Meetings(WIDE.teacher, WIDE.k, WIDE.seed)
    teacher.student, teacher.seen = student, []
    rollout = asyncio.run(
        WIDE.one(NEVER.model_copy(update={"write_ahead": num_ahead}), student, teacher, auto=7)
    )
    assert teacher.seen == expected
    assert student.calls == [(0, 5), (5, 5), (10, 5), (15, 5)]
    assert (rollout.costs.student_tokens, rollout.costs.wasted_tokens) == (20, 0)


@pytest.mark.parametrize(("num_ahead", "wasted"), [(0, 3), (1, 8), (2, 13), (9, 13)])
def test_what_was_written_ahead_of_a_switch_is_wasted(num_ahead: int, wasted: int) -> None:
    student, _ = WIDE.roles()
    teacher = Meetings(WIDE.teacher, WIDE.k, WIDE.seed)
    teacher.student, teacher.seen = student, []
    rollout = asyncio.run(WIDE.one(AdaSwitch(write_ahead=num_ahead, **AT_SEVEN), student, teacher))
    assert rollout.switch_position == 7
    assert rollout.costs.wasted_tokens == wasted
    assert rollout.costs.student_tokens == 7 + wasted
    assert rollout.costs.scored_tokens == 10


@dataclass
class Stuck(SlowStudent):
    """A student that never ends its third chunk, and tells whether that was given up."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the third chunk is asked for."""

    async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
        if len(completion) >= 10:
            self.calls.append((len(completion), num_tokens))
            self.asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.given_up += 1
                raise
        return await super().write(prompt, completion, num_tokens)


def test_what_is_being_written_at_a_switch_is_given_up_and_counts_as_it_was_asked_for() -> None:
    student = Stuck(WIDE.student, WIDE.seed)
    _, teacher = WIDE.roles()
    rollout = asyncio.run(WIDE.one(AdaSwitch(write_ahead=2, **AT_SEVEN), student, teacher))
    assert student.calls == [(0, 5), (5, 5), (10, 5)]
    assert student.given_up == 1
    assert (rollout.switch_position, rollout.costs.wasted_tokens) == (7, 3 + 5)


def test_a_rollout_that_is_cancelled_gives_up_what_is_being_written_ahead() -> None:
    async def cancelled() -> None:
        rollout = asyncio.create_task(
            WIDE.one(AdaSwitch(window=20, chunk_size=5, write_ahead=1), student, teacher)
        )
        await student.asked.wait()
        rollout.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rollout
        assert student.given_up == 1

    student = Stuck(WIDE.student, WIDE.seed)
    _, teacher = WIDE.roles()
    asyncio.run(asyncio.wait_for(cancelled(), 10))


@dataclass
class Failing(SlowStudent):
    """A student that dies as soon as it is asked for the third chunk."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
        if len(completion) >= 10:
            self.calls.append((len(completion), num_tokens))
            self.asked.set()
            raise ModelError("the engine is gone")
        return await super().write(prompt, completion, num_tokens)


@pytest.mark.parametrize("num_ahead", [0, 1, 2, 5])
@pytest.mark.parametrize("policy", [{"window": 20, "chunk_size": 5}, AT_SEVEN], ids=["needed", "thrown away"])
def test_an_error_of_what_was_written_ahead_is_raised(num_ahead: int, policy: dict[str, float]) -> None:
    student = Failing(WIDE.student, WIDE.seed)
    teacher = Meetings(WIDE.teacher, WIDE.k, WIDE.seed)
    teacher.student, teacher.seen = student, []
    rolling = WIDE.one(AdaSwitch(write_ahead=num_ahead, **policy), student, teacher)
    if num_ahead == 0 and policy is AT_SEVEN:
        assert asyncio.run(rolling).switch_position == 7
        return
    with pytest.raises(ModelError, match="the engine is gone"):
        asyncio.run(rolling)
    assert student.calls == [(0, 5), (5, 5), (10, 5)], "nothing is written after a chunk that failed"


def test_an_error_of_the_teacher_gives_up_what_is_being_written_ahead() -> None:
    class Lost(SlowTeacher):
        async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
            await student.asked.wait()
            raise TeacherProtocolError("the teacher is lost")

    for student in (Stuck(WIDE.student, WIDE.seed), Failing(WIDE.student, WIDE.seed)):
        teacher = Lost(WIDE.teacher, WIDE.k, WIDE.seed)
        with pytest.raises(TeacherProtocolError, match="lost") as caught:
            asyncio.run(WIDE.one(AdaSwitch(write_ahead=2, **AT_SEVEN), student, teacher))
        notes = getattr(caught.value, "__notes__", [])
        assert student.given_up + len(notes) == 1
        assert all("written ahead failed as well: ModelError('the engine is gone')" in note for note in notes)


@pytest.mark.parametrize("num_ahead", [0, 1, 3])
def test_no_more_distributions_are_kept_than_those_of_the_chunks_ahead(num_ahead: int) -> None:
    class Watched(SlowStudent):
        async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
            num_kept.append(sum(kept() is not None for kept in written))
            chunk = await super().write(prompt, completion, num_tokens)
            written.append(weakref.ref(chunk.rows))
            return chunk

    num_kept: list[int] = []
    written: list[weakref.ref[object]] = []
    student = Watched(WIDE.student, WIDE.seed)
    teacher = Meetings(WIDE.teacher, WIDE.k, WIDE.seed)
    teacher.student, teacher.seen = student, []
    asyncio.run(WIDE.one(AdaSwitch(window=20, chunk_size=2, write_ahead=num_ahead), student, teacher))
    assert len(num_kept) == 10
    assert max(num_kept) == num_ahead
    assert [kept() for kept in written] == [None] * 10


def test_a_switch_at_a_known_place_has_nothing_written_behind_it() -> None:
    policy = RandomSwitch(positions=[0.0] * 7 + [1.0], write_ahead=3)
    student, _ = WIDE.roles()
    teacher = Meetings(WIDE.teacher, WIDE.k, WIDE.seed)
    teacher.student, teacher.seen = student, []
    rollout = asyncio.run(WIDE.one(policy, student, teacher))
    assert student.calls == [(0, 8)]
    assert (rollout.switch_position, rollout.costs.wasted_tokens) == (7, 1)
    student, _ = WIDE.roles(keeps=1)
    again = asyncio.run(WIDE.one(policy, student, teacher))
    assert_same(again, rollout)
    assert again.costs.wasted_tokens == 1
