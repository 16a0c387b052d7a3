"""``Lockstep``: many rollouts of a group ask one by one; they are answered in batches.

Every rollout is a coroutine that awaits one thing at a time. Once all of a group's rollouts wait, what they wait
for is done in one batch a kind; the next such round begins when all of these are answered. So the composition of
a batch follows from the rollouts alone, never from timing, and with an engine whose answers depend only on the
batch, neither do the numbers.

A rollout that waits for the teacher to write its end has left the group for the time: the others go on without
it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

BatchCall = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
"""Answers requests of one kind, in their order."""


@dataclass(frozen=True)
class Kind:
    """One kind of request. ``holds_up``: whether the group waits for its answers before it goes on."""

    name: str
    answer: BatchCall
    holds_up: bool = True


Requests = list[tuple[Any, "asyncio.Future[Any]"]]
"""What is asked, and where the answer goes."""
Part = tuple[Kind, Requests]
"""The requests of one kind."""


@dataclass
class Lockstep:
    """One group of ``num_members`` rollouts. Each calls ``ask`` as it goes, and ``leave`` when it ends."""

    num_members: int
    _num_waiting: int = 0
    _pending: dict[str, Part] = field(default_factory=dict)
    _batches: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(self, kind: Kind, request: object) -> Any:  # noqa: ANN401 - as the kind answers
        """The answer to ``request``, once the whole group has asked for something."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.setdefault(kind.name, (kind, []))[1].append((request, future))
        self._num_waiting += 1
        self._start_if_all_wait()
        return await future

    def leave(self) -> None:
        """One rollout has ended and will not ask again."""
        self.num_members -= 1
        self._start_if_all_wait()

    def _start_if_all_wait(self) -> None:
        if self._num_waiting < self.num_members or not self._pending:
            return
        pending, self._pending = self._pending, {}
        waited_for = [part for part in pending.values() if part[0].holds_up]
        if waited_for:
            self._start(waited_for)
        for kind, requests in pending.values():
            if not kind.holds_up:
                self.num_members -= len(requests)
                self._num_waiting -= len(requests)
                self._start([(kind, requests)])

    def _start(self, parts: list[Part]) -> None:
        batches = asyncio.create_task(self._answer(parts))
        self._batches.add(batches)
        batches.add_done_callback(self._batches.discard)

    async def _answer(self, parts: list[Part]) -> None:
        """Answer a batch a kind. All are waited for, so that rollouts go on in the same order every time."""
        outcomes = await asyncio.gather(*(_outcome(kind, requests) for kind, requests in parts))
        for (kind, requests), outcome in zip(parts, outcomes, strict=True):
            if kind.holds_up:
                self._num_waiting -= len(requests)
            else:
                self.num_members += len(requests)
            for i, (_, future) in enumerate(requests):
                if future.done():  # the rollout was cancelled meanwhile
                    continue
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome[i])

    def cancel(self) -> None:
        """Give up on everything that is under way."""
        for batch in self._batches:
            batch.cancel()


async def _outcome(kind: Kind, requests: Requests) -> Sequence[Any] | Exception:
    """An answer a request; or the error, which is every request's."""
    try:
        answers = await kind.answer([request for request, _ in requests])
        if len(answers) != len(requests):
            raise ValueError(f"{len(requests)} {kind.name} requests, {len(answers)} answers")
    except Exception as error:
        return error
    return answers
