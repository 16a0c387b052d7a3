"""The service's life, and the place of each request in it: admission, hanging up, draining."""

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
    """Where the service stands. Work is taken while it is ``READY`` only."""

    STARTING = "starting"
    """The model is being loaded, or the warm-up score has not been answered."""
    READY = "ready"
    DRAINING = "draining"
    """Told to end: what is under way is finished, nothing new is taken."""
    LOST = "lost"
    """The engine has died or never started."""


class Service:
    """One engine and the requests that are in the house for it."""

    def __init__(self, engine: TeacherEngine, config: TeacherServiceConfig, metrics: TeacherMetrics) -> None:
        self.engine = engine
        self.config = config
        self.metrics = metrics
        self.phase = Phase.STARTING
        self.failure: Exception | None = None
        """Why the engine never started."""
        self.settled = asyncio.Event()
        """Set once the engine is ready, or has failed."""
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
        """Start the engine, warm it up, and watch it. Ends only with the engine's death, or cancelled."""
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
        while self.engine.alive:  # noqa: ASYNC110 - an engine has no event for it
            await asyncio.sleep(HEALTH_INTERVAL_S)
        self._enter(Phase.LOST)
        self.lost.set()

    def check_ready(self) -> None:
        """Raises a 503 unless work is taken."""
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
        """A place in the house for one request: 503 while no work is taken, 429 where it is full."""
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
        """Memory for ``num_rows`` of ``top_k`` log-probabilities: 422 where it is never enough, 429 where not now."""
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
        """While a body is read: to be told of its bytes, and 429 where all bodies together are too many."""
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
        """``work``'s result. It is cancelled when the client hangs up (``ClientDisconnect``), or too late (504)."""
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
            # Not before the engine has let go of it is the request's place free again.
            await asyncio.gather(*both, return_exceptions=True)

    async def drain(self, timeout_s: float) -> None:
        """Take no new work, wait for what is under way, and end what takes longer than ``timeout_s``."""
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
    """Returns once the client has gone. To be awaited after the whole body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass
