"""What every client of a teacher does, whatever the routes: repeats failed requests, and asks once what is served.

Requests are safe to repeat: a score depends only on its tokens, and a continuation only on its prompt and seed.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import httpx

from adaswitch.contract.wire import ModelInfo
from adaswitch.errors import (
    TeacherError,
    TeacherProtocolError,
    TeacherRejectedError,
    TeacherUnavailableError,
)
from adaswitch.teachers.errors import error_of, is_retryable
from adaswitch.teachers.replica_sameness import ReplicaSameness
from adaswitch.teachers.replicas import REPLICA

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0
READY_POLL_S = 0.5
SAY_EVERY_S = 10.0
"""Seconds between two messages while no teacher answers."""

T = TypeVar("T")


class PersistentClient(ABC):
    """Asks one teacher, or several replicas of it. ``say`` gets a line now and then while there is no answer."""

    _model_path: str
    """The route at which a teacher says what it serves."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        max_wait_s: float,
        say: Callable[[str], None] = lambda line: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        replicas: Sequence[str] = (),
    ) -> None:
        """``replicas`` are all addresses of the teacher. If there are several, all must serve the same model."""
        self._http = http
        self._max_wait_s = max_wait_s
        self._say = say
        self._sleep = sleep
        self._info: ModelInfo | None = None
        self._sameness = ReplicaSameness(replicas, self._look)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def _url(self) -> str:
        return str(self._http.base_url).rstrip("/")

    async def _wait_until_answered(self, path: str, timeout_s: float, on_wait: Callable[[str], None]) -> None:
        """Return once ``path`` answers 200. Raises ``TeacherUnavailableError`` after ``timeout_s`` seconds.

        ``on_wait`` is called with a line whenever the reason for waiting changes.
        """
        deadline_s = time.monotonic() + timeout_s
        said = ""
        while True:
            try:
                await self._send("GET", path)
                return
            except TeacherUnavailableError as error:
                if time.monotonic() >= deadline_s:
                    raise self._nobody(error, timeout_s) from None
                if str(error) != said:
                    said = str(error)
                    on_wait(f"waiting for the teacher at {self._url}: {said}")
            except TeacherRejectedError:
                raise TeacherProtocolError(f"{self._url} has no {path}: it is no teacher service") from None
            await self._sleep(READY_POLL_S)

    async def model_info(self) -> ModelInfo:
        """What the teacher serves, asked only once. Raises ``ModelError`` if two replicas serve different models."""
        if self._info is None:
            info, url = await self._persist(lambda: self._look(None))
            await self._sameness.compare_all(info, url)
            self._info = info
        return self._info

    @abstractmethod
    async def _info_of(self, response: httpx.Response) -> ModelInfo:
        """What the teacher that sent ``response``, from ``_model_path``, serves. No failed request is repeated."""

    async def _look(self, replica: str | None) -> tuple[ModelInfo, str]:
        """What the teacher at ``replica`` serves, or any teacher if that is None; and this teacher's address."""
        response = await self._send("GET", self._model_path, replica=replica)
        return await self._info_of(response), self._origin(response)

    def _origin(self, response: httpx.Response) -> str:
        url: str = response.extensions.get(REPLICA, self._url)
        return url

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        replica: str | None = None,
    ) -> httpx.Response:
        """Try once, at ``replica``, or at any if that is None. Raises ``AdaSwitchError`` unless the answer is a 2xx."""
        extensions = {} if replica is None else {REPLICA: replica}
        try:
            response = await self._http.request(
                method, path, content=content, headers=headers, extensions=extensions
            )
        except httpx.RequestError as error:
            if not is_retryable(error):
                raise TeacherProtocolError(f"{self._url}{path}: {error!r}") from error
            raise TeacherUnavailableError(str(error) or type(error).__name__) from error
        if not response.is_success:
            raise error_of(response)
        return response

    async def _ask_once(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Try once. A replica's first answer counts only if the replica serves the same model as the others."""
        response = await self._send(method, path, content, headers)
        url = self._origin(response)
        if self._sameness.is_open(url):
            await self._sameness.require(url, await self.model_info())
        return response

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat ``attempt`` until it works, for ``max_wait_s`` at most, with capped exponential back-off, jittered."""
        started_s = said_s = time.monotonic()
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                return await attempt()
            except TeacherError as error:
                now_s = time.monotonic()
                if not is_retryable(error):
                    raise
                if now_s - started_s >= self._max_wait_s:
                    raise self._nobody(error, self._max_wait_s) from None
                if now_s - said_s >= SAY_EVERY_S:
                    said_s = now_s
                    self._say(f"waiting for the teacher at {self._url}: {error}")
                await self._sleep(_pause_s(error, backoff_s, started_s + self._max_wait_s - now_s))
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def _nobody(self, error: TeacherError, waited_s: float) -> TeacherUnavailableError:
        return TeacherUnavailableError(
            f"no teacher answers at {self._url} after {waited_s:g} s ({error}): start one with "
            "python -m services.teacher --model DIR, or set teacher.url"
        )


def _pause_s(error: Exception, backoff_s: float, left_s: float) -> float:
    """Seconds to wait: half to all of the back-off, but at least what the service asked for, and at most ``left_s``."""
    wished_s = getattr(error, "retry_after_s", None) or 0.0
    # Random so that many students do not come back at once; no secret depends on the number.
    jittered_s = backoff_s * random.uniform(0.5, 1.0)
    return max(0.0, min(max(wished_s, jittered_s), left_s))
