"""The interface of an engine: what the REST app needs from it, whichever library runs the model."""

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
    """The engine has died: it will not answer any request."""


class EngineFaultError(AdaSwitchError):
    """The engine failed on one request, but still runs."""


class RequestRefusedError(AdaSwitchError):
    """The engine refused a request that the app's own limits let through."""


class TeacherEngine(Protocol):
    """A model that scores sequences and continues prompts. It can be asked once ``start`` has returned.

    ``top_k`` is always in 0 .. ``info.max_top_k``: before it calls, the app has resolved -1 and checked every limit.
    Cancelling a call frees what the call takes of the engine. If a log-probability is a NaN or an infinity, the call
    raises ``NonFiniteError``: such a number is never part of an answer.
    """

    @property
    def info(self) -> ModelInfo:
        """The model that is served, and its limits."""
        ...

    @property
    def alive(self) -> bool:
        """False once the engine has died."""
        ...

    def why_lost(self) -> str | None:
        """The error message that a dead engine left; None if it left none."""
        ...

    async def start(self) -> None:
        """Load the model. Raises ``UserError`` if the model or the machine is the cause of a failure."""
        ...

    async def score(self, sequences: Sequence[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """One answer for each sequence, in the same order."""
        ...

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """One answer for each prompt, in the same order."""
        ...

    async def close(self) -> None:
        """End everything that ``start`` began, even if the start has not finished."""
        ...

    def metrics_text(self) -> str:
        """The engine's own metrics in Prometheus' text format; may be empty."""
        ...


def check_finite(answer: SequenceAnswer) -> SequenceAnswer:
    """Return ``answer``. Raises ``NonFiniteError`` if one of its log-probabilities is a NaN or an infinity."""
    if not (np.isfinite(answer.token_logprobs).all() and np.isfinite(answer.top_logprobs).all()):
        raise NonFiniteError(
            "the teacher's model gave a log-probability that is not finite: its weights are damaged, or too large for "
            "its dtype"
        )
    return answer


async def all_or_none(calls: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Run all ``calls`` at once. Returns their results in order; the first failure cancels the rest and is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """Run ``function`` in a daemon thread: unlike a pool's thread, it does not delay the end of the process."""
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
        # If the event loop is closed by now, nobody waits for the result.
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True, name=_START_THREAD).start()
    return await future


def is_starting() -> bool:
    """Whether a function that ``in_daemon_thread`` was given still runs, even if nobody waits for it any more."""
    return any(thread.name == _START_THREAD for thread in threading.enumerate())
