"""The rollout queue: admission, back-pressure, leases, ids, attempts."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.cluster.rollout_queue import RolloutQueue
from adaswitch.errors import QueueClosedError, StaleAttemptError
from adaswitch.method.prompt import EVALUATION, Prompt
from adaswitch.runs.exported import Report, Sample


class FakeClock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def prompts(step: int, per_step: int = 4) -> list[Prompt]:
    first = step * per_step
    return [Prompt(id=i, token_ids=(1, 2), step=step) for i in range(first, first + per_step)]


def ids_of(lease) -> list[int]:
    return [prompt.id for prompt in lease.prompts]


async def started(capacity: int = 100, lease_timeout_s: float = 10.0, **options) -> RolloutQueue:
    queue = RolloutQueue(capacity, lease_timeout_s, **options)
    await queue.begin("a")
    return queue


async def test_leases_come_in_order_and_never_mix_steps() -> None:
    queue = await started()
    await queue.offer("a", prompts(1))
    await queue.offer("a", prompts(0))
    leases = [await queue.lease("s", 3, 0) for _ in range(4)]
    assert [ids_of(lease) for lease in leases] == [[0, 1, 2], [3], [4, 5, 6], [7]]
    assert await queue.lease("s", 3, 0) is None


async def test_take_waits_for_all_and_keeps_until_acknowledged() -> None:
    queue = await started()
    await queue.offer("a", prompts(0))
    await queue.lease("s", 4, 0)
    taking = asyncio.create_task(queue.take("a", [0, 1, 2, 3], 60))
    await queue.put("a", {2: b"2", 0: b"0"})
    assert await queue.take("a", [0, 1, 2, 3], 0) is None
    await queue.put("a", {3: b"3", 1: b"1"})
    assert await taking == [b"0", b"1", b"2", b"3"]
    assert await queue.take("a", [3, 0], 0) == [b"3", b"0"]
    await queue.acknowledge("a", [0, 1, 2, 3])
    assert (await queue.stats()).num_held == 0


async def test_a_second_rollout_of_a_prompt_is_dropped() -> None:
    queue = await started()
    await queue.offer("a", prompts(0))
    await queue.lease("s", 4, 0)
    assert await queue.put("a", {0: b"first"}) == 1
    assert await queue.put("a", {0: b"second"}) == 0
    assert await queue.take("a", [0], 0) == [b"first"]
    await queue.acknowledge("a", [0])
    assert await queue.put("a", {0: b"third"}) == 0
    assert (await queue.stats()).num_duplicates == 2


async def test_offering_again_changes_nothing() -> None:
    queue = await started()
    await queue.offer("a", prompts(0))
    await queue.lease("s", 2, 0)
    await queue.put("a", {0: b"0"})
    await queue.offer("a", prompts(0))
    stats = await queue.stats()
    assert (stats.num_waiting, stats.num_leased, stats.num_held) == (2, 1, 1)


async def test_an_expired_lease_goes_to_another_student_and_its_late_rollout_still_counts() -> None:
    clock = FakeClock()
    queue = await started(lease_timeout_s=10, clock=clock)
    await queue.offer("a", prompts(0))
    await queue.lease("slow", 4, 0)
    clock.now_s = 9.9
    assert await queue.lease("other", 4, 0) is None
    clock.now_s = 10.0
    lease = await queue.lease("other", 2, 0)
    assert ids_of(lease) == [0, 1]
    assert await queue.put("a", {0: b"slow", 3: b"slow"}) == 2
    assert await queue.put("a", {0: b"other", 1: b"other"}) == 1
    assert await queue.take("a", [0, 1, 3], 0) == [b"slow", b"other", b"slow"]
    assert (await queue.stats()).num_expired == 4


async def test_the_lease_of_a_student_that_falls_silent_goes_to_another() -> None:
    clock = FakeClock()
    queue = await started(lease_timeout_s=100, silence_timeout_s=10, clock=clock)
    await queue.offer("a", prompts(0))
    assert ids_of(await queue.lease("silent", 2, 0)) == [0, 1]
    assert ids_of(await queue.lease("alive", 2, 0)) == [2, 3]
    clock.now_s = 9.9
    await queue.heard("alive")
    assert await queue.lease("third", 4, 0) is None
    clock.now_s = 10.0
    assert ids_of(await queue.lease("third", 4, 0)) == [0, 1]
    assert (await queue.stats()).num_expired == 2


async def test_a_waiting_lease_gets_what_a_silent_student_had() -> None:
    queue = await started(silence_timeout_s=0.02)
    await queue.offer("a", prompts(0))
    await queue.lease("silent", 4, 0)
    assert ids_of(await queue.lease("other", 4, 60)) == [0, 1, 2, 3]


async def test_a_waiting_lease_gets_what_expires_meanwhile() -> None:
    queue = await started(lease_timeout_s=0.02)
    await queue.offer("a", prompts(0))
    await queue.lease("slow", 4, 0)
    lease = await queue.lease("other", 4, 30)
    assert ids_of(lease) == [0, 1, 2, 3]


async def test_what_a_dead_student_had_is_released_and_others_keep_theirs() -> None:
    queue = await started()
    await queue.offer("a", prompts(0))
    await queue.lease("dead", 1, 0)
    await queue.lease("alive", 2, 0)
    assert await queue.release("dead") == 1
    assert ids_of(await queue.lease("alive", 4, 0)) == [0, 3]


async def test_the_last_call_of_a_dead_student_gets_nothing_that_comes_in_later() -> None:
    queue = await started()
    waiting = asyncio.create_task(queue.lease("dead", 4, 60))
    await asyncio.sleep(0)
    assert await queue.release("dead") == 0
    await queue.offer("a", prompts(0))
    assert await waiting is None
    assert ids_of(await queue.lease("alive", 4, 0)) == [0, 1, 2, 3]


async def test_back_pressure_counts_leased_and_held() -> None:
    queue = await started(capacity=5)
    await queue.offer("a", prompts(0))
    await queue.offer("a", prompts(1))
    assert ids_of(await queue.lease("s", 4, 0)) == [0, 1, 2, 3]
    assert ids_of(await queue.lease("s", 4, 0)) == [4]
    assert await queue.lease("s", 4, 0) is None
    await queue.put("a", dict.fromkeys(range(4), b""))
    assert await queue.lease("s", 4, 0) is None
    waiting = asyncio.create_task(queue.lease("s", 4, 60))
    await queue.acknowledge("a", [0, 1, 2, 3])
    assert ids_of(await waiting) == [5, 6, 7]


async def test_an_evaluation_comes_first_and_fits_even_where_nothing_else_does() -> None:
    queue = await started(capacity=4)
    await queue.offer("a", prompts(0))
    await queue.lease("s", 4, 0)
    await queue.put("a", dict.fromkeys(range(2), b""))
    asked = [Prompt(i, (1,), step=EVALUATION, greedy=True) for i in range(90, 96)]
    await queue.offer("a", [*prompts(1), *asked])
    assert [ids_of(await queue.lease("s", 4, 0)) for _ in range(2)] == [[90, 91, 92, 93], [94, 95]]
    assert await queue.lease("s", 4, 0) is None
    await queue.put("a", dict.fromkeys(range(90, 96), b""))
    assert await queue.take("a", list(range(90, 96)), 0) is not None
    await queue.acknowledge("a", list(range(90, 96)))
    assert await queue.lease("s", 4, 0) is None


async def test_a_new_attempt_starts_empty_and_the_old_one_is_told() -> None:
    queue = await started()
    await queue.offer("a", prompts(0))
    lease = await queue.lease("s", 4, 0)
    taking = asyncio.create_task(queue.take("a", [0], 60))
    await asyncio.sleep(0)
    await queue.begin("b")
    with pytest.raises(StaleAttemptError):
        await taking
    with pytest.raises(StaleAttemptError):
        await queue.put(lease.attempt, {0: b"old"})
    assert await queue.lease("s", 4, 0) is None
    await queue.offer("b", prompts(0))
    await queue.begin("b")
    assert len((await queue.lease("s", 4, 0)).prompts) == 4


async def test_a_queue_that_lost_its_memory_says_so() -> None:
    queue = RolloutQueue(10, 10)
    for call in (queue.offer("a", []), queue.put("a", {}), queue.take("a", [0], 0)):
        with pytest.raises(StaleAttemptError):
            await call
    assert await queue.lease("s", 1, 0) is None


@pytest.mark.parametrize("how", ["close", "fail"])
async def test_everybody_hears_why_the_run_is_over(how: str) -> None:
    queue = await started()
    leasing = asyncio.create_task(queue.lease("s", 1, 60))
    taking = asyncio.create_task(queue.take("a", [0], 60))
    await asyncio.sleep(0)
    await (queue.close("a", "enough") if how == "close" else queue.fail("enough"))
    for call in (leasing, taking):
        with pytest.raises(QueueClosedError, match="enough"):
            await call
    await queue.begin("b")
    assert await queue.lease("s", 1, 0) is None


@given(
    st.lists(st.tuples(st.sampled_from(["lease", "put", "expire", "release", "again"]), st.integers(1, 5)))
)
def test_every_prompt_is_delivered_exactly_once_whatever_happens(events: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        clock = FakeClock()
        queue = await started(capacity=6, lease_timeout_s=5, clock=clock)
        for step in range(3):
            await queue.offer("a", prompts(step))
        held_by_students: list[int] = []
        life = 0
        for event, number in events:
            if event == "lease":
                lease = await queue.lease(f"s{life}", number, 0)
                held_by_students += ids_of(lease) if lease else []
            elif event == "put":
                await queue.put("a", {i: b"%d" % i for i in held_by_students[:number]})
            elif event == "expire":
                clock.now_s += number
            elif event == "release":
                await queue.release(f"s{life}")
                life += 1
            else:
                await queue.offer("a", prompts(number % 3))
            stats = await queue.stats()
            assert stats.num_leased + stats.num_held <= 6
            assert stats.num_waiting + stats.num_leased + stats.num_held == 12
        delivered: list[bytes] = []
        for step in range(3):
            ids = [prompt.id for prompt in prompts(step)]
            while (blobs := await queue.take("a", ids, 0)) is None:
                await queue.release(f"s{life}")
                life += 1
                lease = await queue.lease(f"s{life}", 4, 0)
                assert lease is not None, "the step that is waited for can always be leased"
                await queue.put("a", {i: b"%d" % i for i in ids_of(lease)})
            delivered += blobs
            await queue.acknowledge("a", ids)
        assert delivered == [b"%d" % i for i in range(12)]

    asyncio.run(scenario())


async def test_a_run_whose_trainer_falls_silent_is_over_and_the_next_attempt_opens_it() -> None:
    clock = FakeClock()
    queue = await started(trainer_timeout_s=60, clock=clock)
    await queue.offer("a", prompts(0))
    clock.now_s = 50.0
    await queue.trainer_heard("another")
    await queue.trainer_heard("a")
    clock.now_s = 110.0
    assert await queue.open_run() is not None
    clock.now_s = 110.1
    assert await queue.open_run() is None
    with pytest.raises(QueueClosedError, match="no sign of life for 60 s"):
        await queue.lease("s", 1, 0)
    await queue.begin("b")
    assert await queue.open_run() is not None
    assert await queue.present_attempt() == "b"


async def test_a_student_of_other_settings_gets_no_prompts() -> None:
    queue = RolloutQueue(10, 10)
    assert await queue.lease("early", 1, 0, "{}") is None
    await queue.begin("a", "{}")
    await queue.offer("a", prompts(0))
    assert ids_of(await queue.lease("fits", 1, 0, "{}")) == [0]
    assert ids_of(await queue.lease("was told", 1, 0)) == [1]
    with pytest.raises(QueueClosedError, match="other settings"):
        await queue.lease("stale", 1, 0, '{"seed": 1}')


async def reported(queue: RolloutQueue) -> dict[str, float]:
    """What the queue reports of itself, by name and labels."""
    [own] = [report for report in await queue.reports() if report.part == "queue"]
    return {
        "".join((s.name.removeprefix("adaswitch_queue_"), *s.labels.values())): s.value for s in own.samples
    }


async def test_what_comes_twice_is_counted_once() -> None:
    queue = await started()
    for _ in range(2):
        await queue.offer("a", prompts(0))
    await queue.lease("s", 3, 0)
    for _ in range(2):
        await queue.put("a", {0: b"0", 1: b"1"})
    assert await reported(queue) == {
        "promptswaiting": 1,
        "promptsleased": 1,
        "rollouts": 2,
        "capacity": 100,
        "students": 1,
        "offered_prompts_total": 4,
        "accepted_rollouts_total": 2,
        "duplicate_rollouts_total": 2,
        "expired_leases_total": 0,
    }


async def test_counters_go_on_with_the_next_attempt_and_begin_anew_under_another_name_in_a_new_queue() -> (
    None
):
    queue = await started()
    await queue.offer("a", prompts(0))
    await queue.begin("b")
    await queue.offer("b", prompts(0))
    assert (await reported(queue))["offered_prompts_total"] == 8
    [first], [second] = await queue.reports(), await (await started()).reports()
    assert first.source != second.source


async def test_figures_of_students_are_passed_on_while_they_give_signs_of_life() -> None:
    clock = FakeClock()
    queue = await started(silence_timeout_s=5.0, clock=clock)

    def report(name: str, num_rollouts: int = 1, made_at: float = 0.0) -> Report:
        return Report("student", name, (Sample("adaswitch_student_rollouts_total", num_rollouts),), made_at)

    for name in ("s1", "s2", "s3"):
        await queue.heard(name, report(name))
    await queue.heard("without")
    await queue.release("s2")
    await queue.heard("s2", report("s2"))  # on its way when the student was given up
    students = [report.source for report in await queue.reports() if report.part == "student"]
    assert students == ["s1", "s3"]
    clock.now_s = 6.0
    await queue.heard("s3", report("s3"))
    students = [report.source for report in await queue.reports() if report.part == "student"]
    assert students == ["s3"]
    assert (await reported(queue))["students"] == 1
    await queue.offer("a", prompts(0))
    await queue.put("a", {0: b"0"}, report("s3", 5, made_at=2.0))
    await queue.heard("s3", report("s3", 4, made_at=1.0))  # overtaken on its way
    assert [each.samples[0].value for each in await queue.reports() if each.source == "s3"] == [5]
