"""``Slots``: keeps prompts under way, each in a task of its own, and leases another one wherever one has ended."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from adaswitch.cluster.rollout_queue import Lease
from adaswitch.errors import QueueClosedError, StaleAttemptError
from adaswitch.method.prompt import Prompt

LeaseUpTo = Callable[[int], Coroutine[Any, Any, Lease | None]]
"""Leases up to so many prompts; None if there are none for a while."""
RollOutOne = Callable[[str, Prompt], Coroutine[Any, Any, None]]
"""Rolls out a prompt of an attempt, and puts the rollout."""


@dataclass
class Slots:
    """Up to ``num_slots`` prompts are under way at once. The first error ends all of them."""

    num_slots: int
    lease: LeaseUpTo
    roll_out: RollOutOne
    _under_way: dict[asyncio.Task[None], tuple[str, int]] = field(default_factory=dict)
    """The attempt and the id of the prompt that each task rolls out."""

    async def run(self) -> str:
        """Work until the run is over. Returns why the run is over."""
        leasing: asyncio.Task[Lease | None] | None = None
        try:
            while True:
                room = self.num_slots - len(self._under_way)
                if leasing is None and room > 0:
                    leasing = asyncio.create_task(self.lease(room))
                everything = [*self._under_way, *([leasing] if leasing else [])]
                await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
                self._settle()
                if leasing is not None and leasing.done():
                    lease, leasing = leasing.result(), None
                    self._begin(lease)
        except QueueClosedError as closed:
            return str(closed)
        finally:
            await _end([*self._under_way, *([leasing] if leasing else [])])

    def _settle(self) -> None:
        """Take note of the prompts that have ended, and raise the first error."""
        for task in [task for task in self._under_way if task.done()]:
            error = None if task.cancelled() else task.exception()
            # The trainer was started again, so the prompt, leased from the earlier attempt, is void.
            if error is not None and not isinstance(error, StaleAttemptError):
                raise error
            del self._under_way[task]

    def _begin(self, lease: Lease | None) -> None:
        """Begin with the prompts of ``lease``, and abandon those of an earlier attempt, which nobody wants any more."""
        if lease is None:
            return
        for task, (attempt, _) in self._under_way.items():
            if attempt != lease.attempt:
                task.cancel()
        for prompt in lease.prompts:
            # A prompt whose lease has expired may come a second time. The first of its rollouts is as good.
            if (lease.attempt, prompt.id) not in self._under_way.values():
                task = asyncio.create_task(self.roll_out(lease.attempt, prompt))
                self._under_way[task] = (lease.attempt, prompt.id)


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks``, and wait until they have ended. Their errors are told by the one that ended the others."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
