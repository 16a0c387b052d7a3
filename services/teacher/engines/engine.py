"""What the app needs of an engine, whatever runs the model."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from adaswitch.contract.wire import GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from adaswitch.errors import AdaSwitchError, NonFiniteError

T = TypeVar("T")
_START_THREAD = "engine-start"


class EngineLostError(AdaSwitchError):
    """The engine has died; nothing that is sent to it will be answered."""


class EngineFaultError(AdaSwitchError):
    """The engine failed on one request, and lives."""


class RequestRefusedError(AdaSwitchError):
    """The engine refused a request that the app's own limits let through."""


class TeacherEngine(Protocol):
    """A model that scores and writes. ``info`` and the answers are there once ``start`` has returned.

    A ``top_k`` is 0 .. ``info.max_top_k``: the app has resolved -1 and checked every limit. Cancelling a call
    frees its place. A NaN or an infinity is a ``NonFiniteError``, never part of an answer.
    """

    @property
    def info(self) -> ModelInfo:
        """What is served."""
        ...

    @property
    def alive(self) -> bool:
        """False once the engine has died."""
        ...

    def why_lost(self) -> str | None:
        """What a dead engine said of its end, if it said anything."""
        ...

    async def start(self) -> None:
        """Load the model. Raises ``UserError`` where the model or the machine is at fault."""
        ...

    async def score(self, sequences: Sequence[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """One answer a sequence, in order."""
        ...

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """One answer a prompt, in order."""
        ...

    async def close(self) -> None:
        """End everything that ``start`` began, finished or not."""
        ...

    def metrics_text(self) -> str:
        """The engine's own metrics in Prometheus' text format; may be empty."""
        ...


def check_finite(answer: SequenceAnswer) -> SequenceAnswer:
    """``answer``, or a ``NonFiniteError``."""
    if not (np.isfinite(answer.token_logprobs).all() and np.isfinite(answer.top_logprobs).all()):
        raise NonFiniteError("the model gave a log-probability that is not finite")
    return answer


async def all_or_none(calls: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """The results of ``calls``, run at once and in order. The first failure ends the others and is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """``function()`` in a thread that does not hold up the end of the process, as a pool's thread would."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as error:
            failure = error
        # The loop may be gone by now: then nobody waits for the result.
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True, name=_START_THREAD).start()
    return await future


def is_starting() -> bool:
    """Whether a function of ``in_daemon_thread`` still runs, waited for or not."""
    return any(thread.name == _START_THREAD for thread in threading.enumerate())
