"""The phases of the service, and what happens to requests in them: admission, cancellation, draining."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.wire import ScoreSequence
from services.teacher.engines.engine import TeacherEngine
from services.teacher.engines.memory import logprob_bytes
from services.teacher.http.deadline import Deadline
from services.teacher.http.errors import busy, out_of_range, unavailable
from services.teacher.http.metrics import TeacherMetrics

T = TypeVar("T")
HEALTH_INTERVAL_S = 0.5


class Phase(StrEnum):
    """The phases of the service. It accepts work only while it is ``READY``."""

    STARTING = "starting"
    """The model is being loaded, or the engine has not answered the warm-up request yet."""
    READY = "ready"
    DRAINING = "draining"
    """The service was told to end: it finishes the requests under way and accepts no new ones."""
    LOST = "lost"
    """The engine has died, or has never started."""


class Service:
    """One engine, and the requests that were accepted for it and are not answered yet."""

    def __init__(self, engine: TeacherEngine, config: TeacherServiceConfig, metrics: TeacherMetrics) -> None:
        self.engine = engine
        self.config = config
        self.metrics = metrics
        self.phase = Phase.STARTING
        self.failure: Exception | None = None
        """The exception that kept the engine from starting, if there was one."""
        self.settled = asyncio.Event()
        """Set once the engine is ready, or has failed to start."""
        self.lost = asyncio.Event()
        """Set once the engine has died after it was ready."""
        self._num_in_flight = 0
        self._num_bytes = 0
        self._num_body_bytes = 0
        self._logprob_budget = int(config.logprob_memory_gib * 2**30)
        metrics.logprob_bytes_limit.set(self._logprob_budget)
        metrics.requests_limit.set(config.max_queued_requests)
        self._idle = asyncio.Event()
        self._idle.set()
        self._work: set[asyncio.Future[Any]] = set()

    async def run_engine(self) -> None:
        """Start the engine, send it a warm-up request, and watch it. Returns once it has died or failed to start."""
        try:
            await self.engine.start()
            await self.engine.score([ScoreSequence(token_ids=[0], start=1)], top_k=0)
        except Exception as error:
            self.failure = error
            self._enter(Phase.LOST)
            self.settled.set()
            return
        if self.phase is Phase.STARTING:
            self._enter(Phase.READY)
        self.settled.set()
        while self.engine.alive:  # noqa: ASYNC110 - an engine has no event for its death
            await asyncio.sleep(HEALTH_INTERVAL_S)
        self._enter(Phase.LOST)
        self.lost.set()

    def check_ready(self) -> None:
        """Raises a 503 unless the service accepts work."""
        match self.phase:
            case Phase.READY if self.engine.alive:
                return
            case Phase.STARTING:
                raise unavailable("not_ready", "the model is being loaded")
            case Phase.DRAINING:
                raise unavailable("draining", "the service is shutting down")
            case _:
                raise unavailable("engine_lost", "the engine is gone")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one request's place. Raises a 503 unless the service accepts work, a 429 if all places are taken."""
        self.check_ready()
        if self._num_in_flight >= self.config.max_queued_requests:
            raise busy("queue_full", f"{self._num_in_flight} requests are in the house already")
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    @contextmanager
    def memory(self, num_rows: int, top_k: int) -> Iterator[None]:
        """Reserve memory for ``num_rows`` rows of ``top_k`` log-probabilities.

        Raises a 422 if they need more than the whole budget, a 429 if they need more than is free now.
        """
        num_bytes = logprob_bytes(num_rows, top_k)
        budget = self._logprob_budget
        if num_bytes > budget:
            raise out_of_range(
                "top_k",
                f"top_k: {num_rows} rows of {top_k} log-probabilities would take {num_bytes / 2**30:.1f} GiB, more "
                f"than the {self.config.logprob_memory_gib:g} set aside: lower it, or send fewer tokens at once",
            )
        if self._num_bytes + num_bytes > budget:
            raise busy(
                "memory_full",
                "the log-probabilities of requests under way take all the memory set aside for them",
            )
        self._use(num_bytes)
        try:
            yield
        finally:
            self._use(-num_bytes)

    @contextmanager
    def reading(self) -> Iterator[Callable[[int], None]]:
        """Count the memory of one body while it is read.

        Yields a function that must be called with the number of bytes of each part. It raises a 429 if all bodies
        that are being read would together take more than their budget.
        """
        taken = 0
        budget = max(self.config.body_memory_mib * 2**20, self.config.max_body_bytes)

        def take(num_bytes: int) -> None:
            nonlocal taken
            if self._num_body_bytes + num_bytes > budget:
                raise busy("bodies_full", "the bodies of requests that are being read take all their memory")
            taken += num_bytes
            self._num_body_bytes += num_bytes

        try:
            yield take
        finally:
            self._num_body_bytes -= taken

    def _use(self, change: int) -> None:
        self._num_bytes += change
        self.metrics.logprob_bytes.set(self._num_bytes)

    async def run(self, work: Coroutine[None, None, T], receive: Receive, deadline: Deadline) -> T:
        """Wait for ``work`` and return its result.

        Cancels ``work`` and raises ``ClientDisconnect`` if the client hangs up, or a 504 if ``deadline`` passes.
        Raises a 503 if ``drain`` has cancelled ``work``.
        """
        with self.metrics.at_work():
            return await self._run(work, receive, deadline)

    async def _run(self, work: Coroutine[None, None, T], receive: Receive, deadline: Deadline) -> T:
        task = asyncio.create_task(work)
        gone = asyncio.create_task(_hung_up(receive))
        both: set[asyncio.Future[Any]] = {task, gone}
        self._work.add(task)
        try:
            await asyncio.wait(both, timeout=deadline.left_s, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not gone.done():
                self.metrics.cancelled.labels("deadline").inc()
                raise deadline.passed()
            if not task.done():
                self.metrics.cancelled.labels("client").inc()
                raise ClientDisconnect
            if task.cancelled():
                self.metrics.cancelled.labels("drain").inc()
                raise unavailable("draining", "the service ended before this request did")
            return task.result()
        finally:
            self._work.discard(task)
            for future in both:
                future.cancel()
            # The request must keep its place until the engine has let go of it.
            await asyncio.gather(*both, return_exceptions=True)

    async def drain(self, timeout_s: float) -> None:
        """Accept no new work, wait for the requests under way, and cancel those that take more than ``timeout_s``."""
        if self.phase is not Phase.LOST:
            self._enter(Phase.DRAINING)
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            for task in list(self._work):
                task.cancel()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.metrics.ready.set(phase is Phase.READY)
        self.metrics.engine_up.set(phase in (Phase.READY, Phase.DRAINING))

    def _count(self, change: int) -> None:
        self._num_in_flight += change
        self.metrics.in_flight.set(self._num_in_flight)
        if self._num_in_flight == 0:
            self._idle.set()
        else:
            self._idle.clear()


async def _hung_up(receive: Receive) -> None:
    """Return once the client has hung up. May only be awaited after the whole body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass
