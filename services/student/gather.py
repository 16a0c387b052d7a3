"""``Gather``: requests of many rollouts that come within a short time are answered in one batch."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from services.student.lockstep import Kind, Request, outcome_of, settle


@dataclass
class Gather:
    """Answers requests of one ``kind``: ``window_s`` seconds after the first, or once ``max_requests`` are there."""

    kind: Kind
    window_s: float
    max_requests: int
    _waiting: list[Request] = field(default_factory=list)
    _timer: asyncio.TimerHandle | None = None
    _batches: dict[asyncio.Task[None], list[Request]] = field(default_factory=dict)
    """The batches that are being answered, with their requests."""

    async def ask(self, content: object) -> Any:  # noqa: ANN401 - as the kind answers
        """The answer. A request that is cancelled is not sent any more, or given up once its whole batch is."""
        loop = asyncio.get_running_loop()
        request = Request(None, content, loop.create_future())
        self._waiting.append(request)
        if len(self._waiting) >= self.max_requests:
            self._send()
        elif self._timer is None:
            self._timer = loop.call_later(self.window_s, self._send)
        try:
            return await request.answer
        finally:
            if request.answer.cancelled():
                self._give_up(request)

    def _send(self) -> None:
        self._stop_timer()
        requests, self._waiting = self._waiting, []
        batch = asyncio.create_task(self._answer(requests))
        self._batches[batch] = requests
        batch.add_done_callback(self._batches.pop)

    async def _answer(self, requests: list[Request]) -> None:
        settle(requests, await outcome_of(self.kind, requests))

    def _give_up(self, request: Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
            if not self._waiting:
                self._stop_timer()
            return
        for batch, requests in self._batches.items():
            if request in requests and all(other.answer.done() for other in requests):
                batch.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def ended(self) -> None:
        """Wait until no batch is under way, so that none outlives the rollouts that asked for it."""
        await asyncio.gather(*self._batches, return_exceptions=True)
