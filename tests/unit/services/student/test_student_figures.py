"""What a student counts: what it has made, and the time in which it and the teacher were at work."""

import asyncio
from contextlib import suppress

import pytest

from adaswitch.errors import QueueClosedError
from adaswitch.method.prompt import EVALUATION, Prompt
from services.student.figures import Busy, StudentFigures, WatchedClient
from tests.fakes import random_rollout
from tests.unit.services.student.test_student_worker import FakeClient, Setup


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def values(figures: StudentFigures) -> dict[str, float]:
    found = figures.samples()
    return {"".join((s.name.removeprefix("adaswitch_student_"), *s.labels.values())): s.value for s in found}


def test_time_in_which_several_things_are_under_way_counts_once() -> None:
    clock = Clock()
    busy = Busy(clock)
    clock.now_s = 1.0
    with busy:
        clock.now_s = 2.0
        with busy:
            clock.now_s = 4.0
        assert busy.seconds == 3.0
        clock.now_s = 5.0
    clock.now_s = 9.0
    assert busy.seconds == 4.0
    with suppress(KeyError), busy:
        clock.now_s = 10.0
        raise KeyError
    assert busy.seconds == 5.0


def test_tokens_are_counted_by_who_handled_them() -> None:
    clock = Clock()
    figures = StudentFigures(clock)
    figures.made([random_rollout(0, num_student=4, num_teacher=3), random_rollout(1)])
    clock.now_s = 7.0
    found = values(figures)
    assert found["rollouts_total"] == 2
    assert found["seconds_total"] == 7
    kinds = ("student", "wasted", "scored", "teacher")
    assert [found[f"tokens_total{kind}"] for kind in kinds] == [8, 0, 8, 6]


async def test_requests_to_the_teacher_count_also_if_they_fail() -> None:
    clock = Clock()
    busy = Busy(clock)
    client = FakeClient()
    watched = WatchedClient(client, busy)
    client.error = QueueClosedError("x")

    async def slow(sequences: object, top_k: int) -> list:
        clock.now_s += 2.0
        raise QueueClosedError("x")

    client.score = slow
    with pytest.raises(QueueClosedError):
        await watched.score([], 1)
    assert busy.seconds == 2.0


async def test_a_worker_counts_its_rollouts_and_no_evaluation() -> None:
    setup = Setup()
    figures = setup.worker._figures
    await setup.queue.begin("a")
    await setup.publish(3)
    running = asyncio.create_task(setup.worker.run())
    await setup.step(0, min_version=0)
    ids = list(range(90, 94))
    await setup.queue.offer("a", [Prompt(i, (1,), step=EVALUATION, greedy=True) for i in ids])
    await setup.queue.take("a", ids, 10)
    await setup.queue.close("a", "done")
    await running
    found = values(figures)
    assert found["rollouts_total"] == 4
    assert found["weights_version"] == 3
    assert found["prompts_in_flight"] == 0
    assert found["busy_seconds_totalstudent"] > 0
