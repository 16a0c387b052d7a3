"""Both kinds of engines as the worker calls them: from an event loop, which they never block."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, cast

from torch import Tensor

from adaswitch.method.roles import Chunk
from services.student.engines.engine import ContinuousEngine, StudentEngine, WriteRequest, batches_by_itself
from services.student.figures import Busy

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class EngineCalls(Protocol):
    """An engine, as a worker calls it."""

    async def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        """One chunk for each request."""

    async def forget(self, prompt_ids: Sequence[int]) -> None:
        """Drop all that is kept of these prompts, and give up what is being written for them."""

    async def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load new weights. Called only while no prompt is under way."""

    def weights(self) -> Mapping[str, Tensor]:
        """The weights that are loaded now, by parameter name."""

    def close(self) -> None:
        """End the engine's work."""


def calls_of(engine: StudentEngine | ContinuousEngine, writing: Busy | None = None) -> EngineCalls:
    """The calls of ``engine``. ``writing`` counts the time in which it writes."""
    writing = writing or Busy()
    if batches_by_itself(engine):
        return _Continuous(engine, writing)
    return _InThread(cast("StudentEngine", engine), writing)


class _InThread:
    """Calls a ``StudentEngine`` in a thread of its own, one call at a time."""

    def __init__(self, engine: StudentEngine, writing: Busy) -> None:
        self._engine = engine
        self._writing = writing
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="student-model")
        self.weights = engine.weights

    async def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        with self._writing:
            return await _in(self._thread, self._engine.write, requests)

    async def forget(self, prompt_ids: Sequence[int]) -> None:
        await _in(self._thread, self._engine.forget, prompt_ids)

    async def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        await _in(self._thread, self._engine.load_weights, weights)

    def close(self) -> None:
        self._thread.shutdown()


class _Continuous:
    """Calls an engine that batches by itself. Weights are loaded in a thread, since that takes long."""

    def __init__(self, engine: ContinuousEngine, writing: Busy) -> None:
        self._engine = engine
        self._writing = writing
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="student-weights")
        self.weights = engine.weights

    async def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        with self._writing:
            return await all_of([self._engine.write(request) for request in requests])

    async def forget(self, prompt_ids: Sequence[int]) -> None:
        self._engine.forget(prompt_ids)

    async def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        await _in(self._thread, self._engine.load_weights, weights)

    def close(self) -> None:
        self._thread.shutdown()
        self._engine.close()


async def _in(
    thread: ThreadPoolExecutor, function: Callable[[Argument], Result], argument: Argument
) -> Result:
    return await asyncio.get_running_loop().run_in_executor(thread, function, argument)


async def all_of(calls: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results of ``calls``, which run at the same time. The first error ends them all, and is raised."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
