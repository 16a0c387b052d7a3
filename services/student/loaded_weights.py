"""``LoadedWeights``: the engine's weights, which change only when no prompt is under way.

So a rollout is written by one version throughout.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from torch import Tensor


class Weights(Protocol):
    """Published weights that are not fetched yet."""

    @property
    def version(self) -> int:
        """The number of updates that made the weights."""

    async def fetch(self) -> dict[str, Tensor]:
        """The tensors, by parameter name."""


Newest = Callable[[str, int], Awaitable[Weights]]
"""See ``WeightBoard.newest``."""
Load = Callable[[Mapping[str, Tensor]], Awaitable[None]]
"""Loads weights into the engine."""


class LoadedWeights:
    """Every lease, or every single prompt, that is rolled out does ``enter`` before, and ``leave`` after."""

    def __init__(self, newest: Newest, load: Load) -> None:
        self._newest = newest
        self._load = load
        self._loaded: tuple[str, int] | None = None  # attempt and version
        self._num_active = 0
        self._gate = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()

    async def enter(self, attempt: str, min_version: int) -> int:
        """Begin with the newest weights if nothing is under way, and otherwise with the loaded weights.

        If the loaded weights are too old, it waits until all that is under way has ended, and the weights are changed.
        Returns the version of the weights.
        """
        async with self._gate:
            if self._num_active and self._loaded is not None:
                loaded_attempt, loaded_version = self._loaded
                if loaded_attempt != attempt or loaded_version < min_version:
                    await self._idle.wait()
            if not self._num_active:
                await self._pull(attempt, min_version)
            self._num_active += 1
            self._idle.clear()
            assert self._loaded is not None
            return self._loaded[1]

    async def _pull(self, attempt: str, min_version: int) -> None:
        newest = await self._newest(attempt, min_version)
        if self._loaded != (attempt, newest.version):
            weights = await newest.fetch()
            self._loaded = None  # if it is cancelled or fails, nobody knows what the engine holds
            await self._load(weights)
            self._loaded = (attempt, newest.version)

    def leave(self) -> None:
        """What began with ``enter`` has ended, and the engine has forgotten it."""
        self._num_active -= 1
        if not self._num_active:
            self._idle.set()
