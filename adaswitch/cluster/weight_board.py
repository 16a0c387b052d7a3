"""The weight board: says which weights of a run are the newest, for students to pull.

The board never sees the weights, and needs no torch. It keeps where the trainer stored them: references into Ray's
object store, where the trainer put the weights with a single copy. A board that was lost is therefore filled again with
one small call. The store frees old weights once neither the trainer nor the board nor any student refers to them.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from adaswitch.errors import StaleAttemptError


@dataclass(frozen=True)
class PublishedWeights:
    """Weights: ``version`` is the number of updates that made them, ``stored`` is where they are."""

    attempt: str
    version: int
    stored: Any


class WeightBoard:
    """Holds the references to one set of weights."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._newest: PublishedWeights | None = None

    async def publish(self, weights: PublishedWeights) -> None:
        """Replace the weights. Publishing the same version of an attempt again changes nothing."""
        async with self._changed:
            newest = self._newest
            if newest is None or newest.attempt != weights.attempt or newest.version < weights.version:
                self._newest = weights
            self._changed.notify_all()

    async def version(self, attempt: str) -> int | None:
        """The version held for ``attempt``; None if nothing was published yet, or the board was lost since."""
        newest = self._newest
        return newest.version if newest is not None and newest.attempt == attempt else None

    async def newest(self, attempt: str, min_version: int, wait_s: float) -> PublishedWeights:
        """The newest weights of ``attempt``, once their version is ``min_version`` or newer.

        Raises ``StaleAttemptError`` if they do not come within ``wait_s``: the attempt is over, or the board was lost.
        """
        deadline_s = time.monotonic() + wait_s
        async with self._changed:
            while True:
                newest = self._newest
                if newest is not None and newest.attempt == attempt and newest.version >= min_version:
                    return newest
                try:
                    await asyncio.wait_for(self._changed.wait(), deadline_s - time.monotonic())
                except TimeoutError:
                    raise StaleAttemptError(
                        f"no weights of version {min_version} or newer for attempt {attempt}"
                    ) from None
