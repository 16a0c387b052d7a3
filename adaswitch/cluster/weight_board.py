"""The weight board: the newest weights of a run, for students to pull.

The board holds the weights as a blob (see ``adaswitch.cluster.weight_blob``), and needs no torch.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaswitch.errors import StaleAttemptError

Blob = NDArray[np.uint8]
"""Weights as bytes, ``[n]``."""


@dataclass(frozen=True)
class PublishedWeights:
    """Weights: ``version`` is the number of updates that made them, ``stored`` what ``store`` returned for the blob."""

    attempt: str
    version: int
    stored: Any


class WeightBoard:
    """Holds one set of weights. ``store`` puts a blob where readers can get it, as ``ray.put`` does."""

    def __init__(self, store: Callable[[Blob], Any]) -> None:
        self._store = store
        self._changed = asyncio.Condition()
        self._newest: PublishedWeights | None = None

    async def publish(self, attempt: str, version: int, blob: Blob) -> None:
        """Replace the weights. Publishing the same version of an attempt again changes nothing."""
        async with self._changed:
            newest = self._newest
            if newest is None or newest.attempt != attempt or newest.version < version:
                self._newest = PublishedWeights(attempt, version, self._store(blob))
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
