"""``Lockstep``: the rollouts of a group ask one by one, and are answered in batches.

Once all rollouts of a group wait, all requests of one kind are answered in one batch. The next round begins when all
these batches are answered. So the composition of a batch follows from the rollouts alone, and never from timing. If the
engine's answers depend only on the batch, the numbers do not depend on timing either.

A rollout may ask for several things at once, as for scores and for the next chunk, which is written ahead. It waits
while any of its requests is unanswered. A rollout that waits for the teacher to write its end leaves the group in the
meantime, and the others go on without it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence
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


@dataclass(frozen=True, eq=False)
class Request:
    """A member's request, and the future that gets its answer."""

    member: Hashable
    content: Any
    answer: "asyncio.Future[Any]"


Part = tuple[Kind, list[Request]]
"""The requests of one kind."""


@dataclass
class Lockstep:
    """One group of ``num_members`` rollouts. Each rollout calls ``ask`` for its requests, and ``leave`` at its end."""

    num_members: int
    _waiting: Counter[Hashable] = field(default_factory=Counter)
    """The number of unanswered requests of each member that has any."""
    _pending: dict[str, Part] = field(default_factory=dict)
    _round: asyncio.Task[None] | None = None
    """The batches that are waited for before the next round begins."""
    _batches: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(self, kind: Kind, request: object, member: Hashable = None) -> Any:  # noqa: ANN401 - as the kind answers
        """The answer to ``request``, which comes once the whole group has asked for something.

        ``member`` says which rollout asks, and is needed if it asks for several things at once.
        """
        answer = asyncio.get_running_loop().create_future()
        asked = Request(object() if member is None else member, request, answer)
        self._pending.setdefault(kind.name, (kind, []))[1].append(asked)
        self._waiting[asked.member] += 1
        self._look_soon()
        try:
            return await asked.answer
        finally:
            if asked.answer.cancelled():
                self._give_up(kind, asked)

    def leave(self) -> None:
        """One rollout has ended and will not ask again."""
        self.num_members -= 1
        self._look_soon()

    def _look_soon(self) -> None:
        """Start a round if all wait; not at once, as what the same rollout asks for ahead belongs to the same round."""
        asyncio.get_running_loop().call_soon(self._start_if_all_wait)

    def _start_if_all_wait(self) -> None:
        if self._round is not None or len(self._waiting) < self.num_members or not self._pending:
            return
        pending, self._pending = self._pending, {}
        waited_for = [part for part in pending.values() if part[0].holds_up]
        if waited_for:
            self._round = self._start(waited_for)
        for kind, requests in pending.values():
            if not kind.holds_up:
                self.num_members -= len(requests)
                self._no_longer_wait(requests)
                self._start([(kind, requests)])

    def _start(self, parts: list[Part]) -> asyncio.Task[None]:
        batches = asyncio.create_task(self._answer(parts))
        self._batches.add(batches)
        batches.add_done_callback(self._batches.discard)
        return batches

    async def _answer(self, parts: list[Part]) -> None:
        """Answer one batch for each kind. All are awaited first, so that rollouts always go on in the same order."""
        outcomes = await asyncio.gather(*(outcome_of(kind, requests) for kind, requests in parts))
        for (kind, requests), outcome in zip(parts, outcomes, strict=True):
            if kind.holds_up:
                self._round = None
                self._no_longer_wait([request for request in requests if not request.answer.done()])
            else:
                self.num_members += len(requests)
            settle(requests, outcome)
        # A rollout may wait for nothing but what it asked for ahead, too late for this round.
        self._look_soon()

    def _no_longer_wait(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self._waiting[request.member] -= 1
            if not self._waiting[request.member]:
                del self._waiting[request.member]

    def _give_up(self, kind: Kind, asked: Request) -> None:
        """Forget a request whose rollout waits no longer. If it is under way, its batch goes on for the others."""
        pending = self._pending.get(kind.name, (kind, []))[1]
        if asked in pending:
            pending.remove(asked)
            if not pending:
                del self._pending[kind.name]
            self._no_longer_wait([asked])
        elif kind.holds_up:
            self._no_longer_wait([asked])
        self._look_soon()

    async def cancel(self) -> None:
        """Cancel all requests that are under way, and wait until they have ended."""
        batches = list(self._batches)
        for batch in batches:
            batch.cancel()
        await asyncio.gather(*batches, return_exceptions=True)


async def outcome_of(kind: Kind, requests: Sequence[Request]) -> Sequence[Any] | Exception:
    """One answer for each request; or the error, which is then the answer to every request."""
    try:
        answers = await kind.answer([request.content for request in requests])
        if len(answers) != len(requests):
            raise ValueError(f"{len(requests)} {kind.name} requests, {len(answers)} answers")
    except Exception as error:
        return error
    return answers


def settle(requests: Sequence[Request], outcome: Sequence[Any] | Exception) -> None:
    """Give each request its answer, or the error. A request that was given up meanwhile needs none."""
    for i, request in enumerate(requests):
        if request.answer.done():
            continue
        if isinstance(outcome, Exception):
            request.answer.set_exception(outcome)
        else:
            request.answer.set_result(outcome[i])
