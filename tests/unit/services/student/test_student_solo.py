"""The student worker on an engine that batches by itself: each rollout goes on by itself, and is the same for it."""

import asyncio
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaswitch.cluster.rollout_queue import Lease, RolloutQueue
from adaswitch.cluster.weight_board import PublishedWeights, WeightBoard
from adaswitch.config.student import StudentConfig
from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.rollout_codec import decode_rollouts
from adaswitch.errors import ConfigError, ModelError, NonFiniteError, QueueClosedError, TeacherRejectedError
from adaswitch.method.kept_logits import KeptLogits
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.base import Policy
from adaswitch.method.policies.dash import DASH
from adaswitch.method.policies.motab import MOTAB
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.policies.relay import Relay
from adaswitch.method.policies.skd import SKD
from adaswitch.method.policies.take_over import TakeOver
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk
from adaswitch.method.rollout import Rollout
from adaswitch.method.takeover.budget import RolloutBudget
from adaswitch.method.takeover.cuts.last_safe import LastSafe
from adaswitch.method.takeover.holds.sentence import Sentence
from adaswitch.method.takeover.holds.until_low import UntilLow
from adaswitch.method.takeover.triggers.accumulated import Accumulated
from adaswitch.method.takeover.triggers.decaying import Decaying
from services.student.engines.engine import WriteRequest
from services.student.teacher_calls import TeacherCalls
from services.student.worker import StudentWorker
from tests.continuous import FakeContinuous, ModelClient, Pace
from tests.fakes import FakeStudent, hash_model, neighbour
from tests.unit.services.student.test_student_worker import INFO, DirectSource, FakeEngine

V, SEED, STOPS, MAX_NEW = 7, 5, [0], 12
STUDENT = hash_model(1, V)
TEACHER = neighbour(STUDENT, 2, 1.0)


class Setup:
    """A worker between a queue, a board, an engine and a teacher, all of which take their time."""

    def __init__(
        self,
        policy: Policy,
        seed: int = 0,
        most_turns: int = 0,
        kind: type[FakeContinuous] = FakeContinuous,
        **student: object,
    ) -> None:
        self.queue = RolloutQueue(1000, 100)
        self.board = WeightBoard()
        self.engine = kind(FakeStudent(STUDENT, SEED, STOPS), Pace(seed, most_turns))
        self.client = ModelClient(TEACHER, V, Pace(seed + 1, most_turns))
        self.config = StudentConfig(
            model="-", max_new_tokens=MAX_NEW, **{"group_size": 2, "gather_window_s": 0.0, **student}
        )
        info = INFO.model_copy(update={"vocab_size": V, "max_top_k": V, "max_request_tokens": 1000})
        calls = TeacherCalls(self.client, info, TeacherConfig(), V, SEED, STOPS)
        self.source = DirectSource(self.queue, self.board)
        self.worker = StudentWorker(
            self.source, self.engine, calls, self.config, policy, STOPS, max_tokens=64
        )

    async def publish(self, version: int, attempt: str = "a") -> None:
        await self.board.publish(PublishedWeights(attempt, version, {"w": torch.tensor(float(version))}))

    async def begin(self, attempt: str = "a", version: int = 0) -> None:
        await self.queue.begin(attempt)
        await self.publish(version, attempt)

    async def take(self, ids: list[int], attempt: str = "a") -> list[Rollout]:
        blobs = await self.queue.take(attempt, ids, 10)
        assert blobs is not None
        await self.queue.acknowledge(attempt, ids)
        return [rollout for blob in blobs for rollout in decode_rollouts(blob)]

    def assert_all_quiet(self) -> None:
        assert self.engine.closed
        assert self.engine.known == set()
        assert self.client.under_way == 0
        assert asyncio.all_tasks() <= {asyncio.current_task()}, "a task was left behind"


def prompts(ids: range, step: int = 0, min_version: int = 0) -> list[Prompt]:
    return [Prompt(i, (1, i % V, 2), 1, step, min_version) for i in ids]


async def rolled(setup: Setup, num_prompts: int) -> list[Rollout]:
    await setup.begin()
    running = asyncio.create_task(setup.worker.run())
    await setup.queue.offer("a", prompts(range(num_prompts)))
    rollouts = await setup.take(list(range(num_prompts)))
    await setup.queue.close("a", "done")
    assert await running == "done"
    setup.assert_all_quiet()
    return rollouts


POLICIES = [
    AdaSwitch(window=2, factor=1.5, chunk_size=3),
    SKD(accept_top_k=2, chunk_size=4),
    Relay(tau=0.2, guide_tokens=2, chunk_size=3),
    OnPolicy(),
    TakeOver(
        trigger=Decaying(tau=0.4),
        hold=UntilLow(tau=0.05),
        cut=LastSafe(safe=0.02, most_tokens=2),
        chunk_size=3,
    ),
    TakeOver(
        trigger=Accumulated(drift=0.3, allowed=0.05),
        hold=Sentence(num=1, ends=["2", "5"]),
        budget=RolloutBudget(times=2, then="end"),
        chunk_size=4,
    ).bound(lambda: [str(token) for token in range(V)]),
    DASH(drift=0.3, recovery=0.1, allowed=0.1, chunk_size=5),
    MOTAB(window=2, factor=1.1, floor=0.0, guide_tokens=2, chunk_size=4),
]


@settings(max_examples=60)
@given(
    st.sampled_from(POLICIES),
    st.integers(0, 10**6),
    st.sampled_from([0, 3, 15]),
    st.integers(1, 5),
    st.sampled_from([{}, {"lockstep": True}, {"gather_requests": 2}, {"gather_window_s": 0.001}]),
    st.sampled_from(["auto", 0, 2]),
)
def test_neither_timing_nor_lockstep_nor_chunks_ahead_change_a_rollout(
    policy: Policy,
    seed: int,
    most_turns: int,
    group_size: int,
    student: dict[str, object],
    write_ahead: int | str,
) -> None:
    expected = asyncio.run(rolled(Setup(policy, lockstep=True, num_groups=1), 6))
    if "write_ahead" in type(policy).model_fields:
        policy = policy.model_copy(update={"write_ahead": write_ahead})
    setup = Setup(policy, seed, most_turns, **{"group_size": group_size, **student})
    for one, other in zip(asyncio.run(rolled(setup, 6)), expected, strict=True):
        assert one.prompt == other.prompt
        assert one.completion_token_ids == other.completion_token_ids
        assert one.by_teacher.tolist() == other.by_teacher.tolist()
        assert one.divergences == other.divergences
        assert torch.equal(one.teacher.logprobs, other.teacher.logprobs)
        assert one.costs.student_tokens - one.costs.wasted_tokens == int((~one.by_teacher).sum())


def test_requests_to_the_teacher_are_gathered() -> None:
    apart = Setup(OnPolicy(), group_size=8, gather_requests=1)
    together = Setup(OnPolicy(), group_size=8, gather_window_s=0.05)
    for setup in (apart, together):
        asyncio.run(rolled(setup, 8))
    assert apart.client.requests == [1] * 8
    assert together.client.requests == [8]


async def test_a_rollout_goes_on_and_another_begins_while_one_is_stuck() -> None:
    class Stuck(FakeContinuous):
        async def write(self, request: WriteRequest) -> Chunk:
            if request.prompt.id == 0:
                await release.wait()
            return await super().write(request)

    release = asyncio.Event()
    setup = Setup(OnPolicy(), kind=Stuck)
    await setup.begin()
    running = asyncio.create_task(setup.worker.run())
    await setup.queue.offer("a", prompts(range(20)))
    assert len(await setup.take(list(range(1, 20)))) == 19
    release.set()
    assert len(await setup.take([0])) == 1
    await setup.queue.close("a", "done")
    await running
    setup.assert_all_quiet()


async def test_no_more_prompts_are_under_way_than_there_are_slots() -> None:
    setup = Setup(OnPolicy(), seed=1, most_turns=9, group_size=3, num_groups=2)
    assert len(await rolled(setup, 40)) == 40
    assert setup.engine.most_known == 6


async def test_no_rollout_mixes_versions_and_newer_weights_wait_for_what_is_under_way() -> None:
    """``FakeContinuous`` refuses weights while a prompt is under way, and a change while one is being written."""
    setup = Setup(POLICIES[0], seed=2, most_turns=6)
    await setup.begin()
    running = asyncio.create_task(setup.worker.run())
    for step in range(5):
        await setup.publish(step)
        await setup.queue.offer(
            "a", prompts(range(step * 8, step * 8 + 8), step, min_version=max(0, step - 1))
        )
    rollouts = await setup.take(list(range(40)))
    written: dict[int, set[float]] = {}
    for prompt_id, version in setup.engine.written_with:
        written.setdefault(prompt_id, set()).add(version)
    for rollout in rollouts:
        assert written.get(rollout.prompt.id, {rollout.weights_version}) == {rollout.weights_version}
        assert rollout.weights_version >= rollout.prompt.min_version
    await setup.queue.close("a", "done")
    assert await running == "done"
    setup.assert_all_quiet()


async def test_weights_are_waited_for() -> None:
    setup = Setup(OnPolicy())
    await setup.begin()
    running = asyncio.create_task(setup.worker.run())
    await setup.queue.offer("a", prompts(range(2), min_version=2))
    taking = asyncio.create_task(setup.take([0, 1]))
    await asyncio.sleep(0.02)
    assert not taking.done()
    await setup.publish(2)
    assert {rollout.weights_version for rollout in await taking} == {2}
    await setup.queue.close("a", "done")
    await running


class Slow(FakeContinuous):
    """Never ends what it writes with weights of version 5."""

    def __init__(self, student: FakeStudent, pace: Pace) -> None:
        super().__init__(student, pace)
        self.begun = asyncio.Event()

    async def write(self, request: WriteRequest) -> Chunk:
        if self.present > 4:
            self.known.add(request.prompt.id)
            self.begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.aborted.append(request.prompt.id)
                raise
        return await super().write(request)


async def test_a_new_attempt_abandons_what_is_under_way_for_the_earlier_one() -> None:
    setup = Setup(OnPolicy(), kind=Slow)
    await setup.begin("a", version=5)
    running = asyncio.create_task(setup.worker.run())
    await setup.queue.offer("a", prompts(range(2)))
    await setup.engine.begun.wait()
    await setup.begin("b", version=1)
    await setup.queue.offer("b", prompts(range(2)))
    rollouts = await setup.take([0, 1], "b")
    assert {rollout.weights_version for rollout in rollouts} == {1}
    assert sorted(setup.engine.aborted) == [0, 1]
    await setup.queue.close("b", "done")
    assert await running == "done"
    setup.assert_all_quiet()


async def test_a_lease_that_expired_and_came_back_is_not_begun_twice() -> None:
    class Twice(DirectSource):
        async def lease(self, max_prompts: int, wait_s: float) -> Lease | None:
            lease = await super().lease(max_prompts, wait_s)
            if next(turns) == 0:
                async with self._queue._changed:
                    self._queue._take_back(list(self._queue._leased.values()))
            return lease

    turns = itertools.count()
    setup = Setup(OnPolicy(), seed=3, most_turns=20)
    setup.worker._source = Twice(setup.queue, setup.board)
    assert len(await rolled(setup, 3)) == 3
    assert sorted(prompt_id for prompt_id, _ in setup.engine.written_with) == [0, 1, 2]
    assert (await setup.queue.stats()).num_duplicates == 0


async def test_a_run_that_is_over_ends_what_is_under_way() -> None:
    setup = Setup(OnPolicy(), kind=Slow)
    await setup.begin(version=5)
    running = asyncio.create_task(setup.worker.run())
    await setup.queue.offer("a", prompts(range(3)))
    await setup.engine.begun.wait()
    await setup.queue.close("a", "stopped")
    assert await asyncio.wait_for(running, 5) == "stopped"
    assert len(setup.engine.aborted) == 3
    setup.assert_all_quiet()


async def test_a_worker_that_is_cancelled_gives_up_all_and_its_prompts_go_to_others() -> None:
    setup = Setup(POLICIES[1], kind=Slow)
    await setup.begin(version=5)
    running = asyncio.create_task(setup.worker.run())
    await setup.queue.offer("a", prompts(range(3)))
    await setup.engine.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    setup.assert_all_quiet()
    assert await setup.queue.release("s") == 3
    lease = await setup.queue.lease("other", 5, 1)
    assert lease is not None
    assert len(lease.prompts) == 3


@pytest.mark.parametrize("most_turns", [0, 10])
@pytest.mark.parametrize("who", ["teacher", "engine"])
async def test_an_error_ends_the_worker_and_all_that_is_under_way(who: str, most_turns: int) -> None:
    error = {
        "teacher": TeacherRejectedError("top_k: too many", status=422, code="out_of_range", field="top_k"),
        "engine": ModelError("the engine is gone"),
    }[who]
    setup = Setup(POLICIES[0], seed=4, most_turns=most_turns, group_size=8)
    (setup.client if who == "teacher" else setup.engine).error = error
    await setup.begin()
    await setup.queue.offer("a", prompts(range(12)))
    with pytest.raises(type(error), match=str(error)):
        await setup.worker.run()
    setup.assert_all_quiet()
    assert await setup.queue.release("s") > 0


async def test_numbers_that_are_not_finite_are_explained_by_the_weights() -> None:
    class Diverged(FakeContinuous):
        async def write(self, request: WriteRequest) -> Chunk:
            return Chunk([1] * request.num_tokens, KeptLogits(torch.full((request.num_tokens, V), torch.nan)))

    setup = Setup(OnPolicy(), kind=Diverged)
    await setup.begin(version=3)
    await setup.queue.offer("a", prompts(range(1)))
    with pytest.raises(NonFiniteError, match=r"weights after step 3.*are finite, the largest is 3"):
        await setup.worker.run()
    setup.assert_all_quiet()


async def test_a_queue_that_is_closed_already_ends_the_worker_at_once() -> None:
    setup = Setup(OnPolicy())
    await setup.begin()
    await setup.queue.fail("a student failed")
    assert await setup.worker.run() == "a student failed"
    setup.assert_all_quiet()
    with pytest.raises(QueueClosedError):
        await setup.queue.lease("s", 1, 1)


def test_an_engine_of_whole_batches_is_driven_in_lockstep_only() -> None:
    setup = Setup(OnPolicy())
    config = setup.config.model_copy(update={"lockstep": False})
    with pytest.raises(ConfigError, match=r"student\.lockstep: false needs an engine that batches by itself"):
        StudentWorker(
            setup.source, FakeEngine(), setup.worker._teacher, config, OnPolicy(), STOPS, max_tokens=64
        )
