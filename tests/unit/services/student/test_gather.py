"""Requests that come within a short time go together, and what nobody waits for any more is not sent, or given up."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.student.gather import Gather
from services.student.lockstep import Kind


class Recorder:
    """Answers a request with itself once it may, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.num_cancelled = 0

    async def answer(self, requests: Sequence[Any]) -> list[Any]:
        self.batches.append(list(requests))
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        return list(requests)

    def gather(self, window_s: float, max_requests: int = 100) -> Gather:
        return Gather(Kind("score", self.answer), window_s, max_requests)


async def asked(gather: Gather, *contents: Any) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(gather.ask(content)) for content in contents]
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_within_the_window_goes_together_and_each_gets_its_own_answer() -> None:
    recorder = Recorder()
    gather = recorder.gather(0.01)
    assert await asyncio.gather(*await asked(gather, 1, 2), *await asked(gather, 3)) == [1, 2, 3]
    assert await asyncio.gather(*await asked(gather, 4)) == [4]
    assert recorder.batches == [[1, 2, 3], [4]]
    await gather.ended()


async def test_once_enough_wait_they_go_at_once_and_no_timer_is_left() -> None:
    recorder = Recorder()
    gather = recorder.gather(3600, max_requests=2)
    tasks = await asked(gather, 1, 2, 3, 4)
    assert await asyncio.wait_for(asyncio.gather(*tasks), 5) == [1, 2, 3, 4]
    assert recorder.batches == [[1, 2], [3, 4]]
    left = await asked(gather, 5)
    assert recorder.batches == [[1, 2], [3, 4]]
    left[0].cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def test_a_batch_does_not_wait_for_the_one_before() -> None:
    recorder = Recorder()
    recorder.may_answer.clear()
    gather = recorder.gather(0)
    first = await asked(gather, 1)
    await asyncio.sleep(0.001)
    second = await asked(gather, 2)
    await asyncio.sleep(0.001)
    assert recorder.batches == [[1], [2]]
    recorder.may_answer.set()
    assert await asyncio.gather(*first, *second) == [1, 2]


async def test_what_is_cancelled_before_it_is_sent_is_not_sent() -> None:
    recorder = Recorder()
    gather = recorder.gather(0.001)
    tasks = await asked(gather, 1, 2, 3)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answers[0], answers[2]] == [1, 3]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert recorder.batches == [[1, 3]]
    alone = await asked(gather, 4)
    alone[0].cancel()
    await asyncio.gather(*alone, return_exceptions=True)
    await asyncio.sleep(0.005)
    assert recorder.batches == [[1, 3]], "an empty batch is not sent"


async def test_a_batch_is_given_up_once_nobody_waits_for_it() -> None:
    recorder = Recorder()
    recorder.may_answer.clear()
    gather = recorder.gather(0, max_requests=2)
    tasks = await asked(gather, 1, 2)
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert recorder.num_cancelled == 0, "the other one still waits"
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await gather.ended()
    assert recorder.num_cancelled == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_reaches_everyone_in_the_batch_and_nobody_else() -> None:
    async def broken(requests: Sequence[Any]) -> list[Any]:
        if 1 in requests:
            raise ValueError("no")
        return list(requests)

    gather = Gather(Kind("score", broken), 0, 2)
    results = await asyncio.gather(*await asked(gather, 1, 2, 3, 4), return_exceptions=True)
    assert [str(result) for result in results] == ["no", "no", "3", "4"]


async def test_too_few_answers_are_an_error() -> None:
    async def short(requests: Sequence[Any]) -> list[Any]:
        return []

    with pytest.raises(ValueError, match="1 score requests, 0 answers"):
        await Gather(Kind("score", short), 0, 1).ask(1)
