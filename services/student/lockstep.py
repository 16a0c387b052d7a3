"""``Lockstep``: the rollouts of a group ask one by one, and are answered in batches.

Every rollout is a coroutine that awaits one answer at a time. Once all rollouts of a group wait, all requests of one
kind are answered in one batch. The next round begins when all these batches are answered. So the composition of a
batch follows from the rollouts alone, and never from timing. If the engine's answers depend only on the batch, the
numbers do not depend on timing either.

A rollout that waits for the teacher to write its end leaves the group in the meantime, and the others go on without
it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

BatchCall = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
"""A call that answers requests of one kind, in their order."""


@dataclass(frozen=True)
class Kind:
    """One kind of request. ``holds_up`` says whether the group waits for the answers before it goes on."""

    name: str
    answer: BatchCall
    holds_up: bool = True


Requests = list[tuple[Any, "asyncio.Future[Any]"]]
"""The requests, each with the future that gets its answer."""
Part = tuple[Kind, Requests]
"""The requests of one kind."""


@dataclass
class Lockstep:
    """One group of ``num_members`` rollouts. Each rollout calls ``ask`` for its requests, and ``leave`` at its end."""

    num_members: int
    _num_waiting: int = 0
    _pending: dict[str, Part] = field(default_factory=dict)
    _batches: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(self, kind: Kind, request: object) -> Any:  # noqa: ANN401 - as the kind answers
        """The answer to ``request``, which comes once the whole group has asked for something."""
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
        """Answer one batch for each kind. All are awaited first, so that rollouts always go on in the same order."""
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
        """Cancel all requests that are under way."""
        for batch in self._batches:
            batch.cancel()


async def _outcome(kind: Kind, requests: Requests) -> Sequence[Any] | Exception:
    """One answer for each request; or the error, which is then the answer to every request."""
    try:
        answers = await kind.answer([request for request, _ in requests])
        if len(answers) != len(requests):
            raise ValueError(f"{len(requests)} {kind.name} requests, {len(answers)} answers")
    except Exception as error:
        return error
    return answers
