"""Lockstep: batches form when the whole group waits, and only then."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.student.lockstep import Kind, Lockstep


class Recorder:
    """Answers a request with itself, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    async def answer(self, requests: Sequence[Any]) -> list[Any]:
        self.batches.append(list(requests))
        return list(requests)


async def run_members(lockstep: Lockstep, members) -> list[Any]:
    async def one(member):
        try:
            return await member
        finally:
            lockstep.leave()

    return await asyncio.gather(*(one(member) for member in members))


async def test_a_batch_holds_what_every_member_asks_for_at_that_turn() -> None:
    recorder = Recorder()
    kind = Kind("write", recorder.answer)
    lockstep = Lockstep(3)

    async def member(number: int, turns: int) -> list[Any]:
        return [await lockstep.ask(kind, (number, turn)) for turn in range(turns)]

    answers = await run_members(lockstep, [member(0, 3), member(1, 1), member(2, 2)])
    assert recorder.batches == [[(0, 0), (1, 0), (2, 0)], [(0, 1), (2, 1)], [(0, 2)]]
    assert answers[2] == [(2, 0), (2, 1)]


async def test_composition_does_not_depend_on_when_a_member_is_slow() -> None:
    async def batches(delays: list[int]) -> list[list[Any]]:
        recorder = Recorder()
        kind = Kind("write", recorder.answer)
        lockstep = Lockstep(3)

        async def member(number: int) -> None:
            for turn in range(3):
                for _ in range(delays[number]):
                    await asyncio.sleep(0)
                await lockstep.ask(kind, (turn, number))

        await run_members(lockstep, [member(i) for i in range(3)])
        return [sorted(batch) for batch in recorder.batches]

    assert await batches([0, 0, 0]) == await batches([7, 0, 3]) == await batches([0, 5, 1])


async def test_a_round_of_two_kinds_ends_when_both_are_answered() -> None:
    async def batches(slow: str, turns: int) -> list[Any]:
        seen: list[Any] = []

        def kind(name: str) -> Kind:
            async def answer(requests: Sequence[Any]) -> list[Any]:
                seen.append((name, list(requests)))
                for _ in range(turns if name == slow else 0):
                    await asyncio.sleep(0)
                return list(requests)

            return Kind(name, answer)

        kinds = {name: kind(name) for name in ("write", "generate")}
        lockstep = Lockstep(2)

        async def member(number: int, order: list[str]) -> None:
            for name in order:
                await lockstep.ask(kinds[name], number)

        await run_members(lockstep, [member(0, ["write"] * 3), member(1, ["generate", "write", "write"])])
        return seen

    expected = [("write", [0]), ("generate", [1]), ("write", [0, 1]), ("write", [0, 1])]
    assert await batches("generate", 0) == expected
    for slow in ("write", "generate"):
        assert await batches(slow, 20) == expected


async def test_a_member_that_waits_for_guidance_does_not_hold_the_others_up() -> None:
    recorder = Recorder()
    write = Kind("write", recorder.answer)
    release = asyncio.Event()

    async def slow(requests: Sequence[Any]) -> list[Any]:
        await release.wait()
        return list(requests)

    generate = Kind("generate", slow, holds_up=False)
    lockstep = Lockstep(2)
    done: list[str] = []

    async def guided() -> None:
        await lockstep.ask(write, "a")
        await lockstep.ask(generate, "g")
        done.append("guided")

    async def explorer() -> None:
        for turn in range(4):
            await lockstep.ask(write, turn)
        done.append("explorer")
        release.set()

    await run_members(lockstep, [guided(), explorer()])
    assert done == ["explorer", "guided"]
    assert recorder.batches == [["a", 0], [1], [2], [3]]


async def test_a_member_that_comes_back_after_guidance_is_waited_for_again() -> None:
    recorder = Recorder()
    write = Kind("write", recorder.answer)
    generate = Kind("generate", recorder.answer, holds_up=False)
    lockstep = Lockstep(2)

    async def hands_back() -> None:
        await lockstep.ask(generate, "g")
        await lockstep.ask(write, "x1")
        await lockstep.ask(write, "x2")

    async def explorer() -> None:
        for turn in range(4):
            await lockstep.ask(write, turn)

    await asyncio.wait_for(run_members(lockstep, [hands_back(), explorer()]), 5)
    assert sorted(str(request) for batch in recorder.batches for request in batch) == sorted(
        ["g", "x1", "x2", "0", "1", "2", "3"]
    )


async def test_an_error_reaches_everyone_in_the_batch() -> None:
    async def broken(requests: Sequence[Any]) -> list[Any]:
        raise ValueError("no")

    lockstep = Lockstep(2)
    kind = Kind("write", broken)

    async def member() -> str:
        try:
            await lockstep.ask(kind, 1)
        except ValueError as error:
            return str(error)
        return "answered"

    assert await run_members(lockstep, [member(), member()]) == ["no", "no"]


async def test_too_few_answers_are_an_error() -> None:
    async def short(requests: Sequence[Any]) -> list[Any]:
        return []

    lockstep = Lockstep(1)
    with pytest.raises(ValueError, match="1 write requests, 0 answers"):
        await lockstep.ask(Kind("write", short), 1)


async def test_cancel_ends_what_is_under_way() -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def forever(requests: Sequence[Any]) -> list[Any]:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return []

    lockstep = Lockstep(1)
    asking = asyncio.create_task(lockstep.ask(Kind("write", forever), 1))
    await asyncio.wait_for(entered.wait(), 5)
    await asyncio.wait_for(lockstep.cancel(), 5)
    assert cancelled.is_set()
    asking.cancel()


async def ahead_and_then(lockstep: Lockstep, number: int, turns: int, kinds: dict[str, Kind]) -> list[Any]:
    """A member that asks for scores of what it has while it writes on."""
    seen = [await lockstep.ask(kinds["write"], (number, 0), number)]
    for turn in range(turns):
        ahead = asyncio.create_task(lockstep.ask(kinds["write"], (number, turn + 1), number))
        seen.append(await lockstep.ask(kinds["score"], (number, turn), number))
        seen.append(await ahead)
    return seen


async def test_what_is_asked_for_ahead_is_answered_in_the_same_round() -> None:
    async def rounds(slow: str, turns: int) -> list[tuple[str, list[Any]]]:
        seen: list[tuple[str, list[Any]]] = []

        def kind(name: str) -> Kind:
            async def answer(requests: Sequence[Any]) -> list[Any]:
                seen.append((name, sorted(requests)))
                for _ in range(turns if name == slow else 0):
                    await asyncio.sleep(0)
                return list(requests)

            return Kind(name, answer)

        kinds = {name: kind(name) for name in ("write", "score")}
        lockstep = Lockstep(2)
        members = [ahead_and_then(lockstep, number, 2 - number, kinds) for number in range(2)]
        answers = await asyncio.wait_for(run_members(lockstep, members), 5)
        assert answers[1] == [(1, 0), (1, 0), (1, 1)]
        return seen

    expected = [
        ("write", [(0, 0), (1, 0)]),
        ("score", [(0, 0), (1, 0)]),
        ("write", [(0, 1), (1, 1)]),
        ("score", [(0, 1)]),
        ("write", [(0, 2)]),
    ]
    for slow, turns in (("write", 0), ("write", 20), ("score", 20)):
        assert sorted(await rounds(slow, turns)) == sorted(expected)


async def given_up(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_given_up_before_its_round_begins_is_not_in_it() -> None:
    recorder = Recorder()
    write = Kind("write", recorder.answer)
    lockstep = Lockstep(2)
    ended = asyncio.Event()

    async def switches() -> list[Any]:
        ahead = asyncio.create_task(lockstep.ask(write, "ahead", 0))
        await asyncio.sleep(0)
        await given_up(ahead)
        ended.set()
        return [await lockstep.ask(write, turn, 0) for turn in ("a", "b")]

    async def explorer() -> list[Any]:
        await ended.wait()
        return [await lockstep.ask(write, turn, 1) for turn in (0, 1)]

    answers = await asyncio.wait_for(run_members(lockstep, [switches(), explorer()]), 5)
    assert answers == [["a", "b"], [0, 1]]
    assert [sorted(batch, key=str) for batch in recorder.batches] == [[0, "a"], [1, "b"]]


async def test_what_is_given_up_within_its_round_holds_nobody_up() -> None:
    entered, release = asyncio.Event(), asyncio.Event()
    batches: list[list[Any]] = []

    async def answer(requests: Sequence[Any]) -> list[Any]:
        batches.append(sorted(requests, key=str))
        entered.set()
        await release.wait()
        return list(requests)

    write = Kind("write", answer)
    lockstep = Lockstep(2)

    async def switches() -> list[Any]:
        ahead = asyncio.create_task(lockstep.ask(write, "ahead", 0))
        await entered.wait()
        await given_up(ahead)
        release.set()
        return [await lockstep.ask(write, turn, 0) for turn in ("a", "b")]

    async def explorer() -> list[Any]:
        return [await lockstep.ask(write, turn, 1) for turn in (0, 1, 2)]

    answers = await asyncio.wait_for(run_members(lockstep, [switches(), explorer()]), 5)
    assert answers == [["a", "b"], [0, 1, 2]]
    assert batches == [[0, "ahead"], [1, "a"], [2, "b"]]
