"""HTTP towards a teacher, whatever its routes: a connection pool, timeouts on every phase, patience.

Requests are safe to repeat: a score depends on its tokens alone, and what is generated on its seed.
"""

import asyncio
import contextlib
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeVar

import httpx

from adaswitch.config.teacher import TeacherConfig
from adaswitch.errors import (
    ConfigError,
    ModelError,
    TeacherError,
    TeacherProtocolError,
    TeacherRejectedError,
    TeacherUnavailableError,
)
from adaswitch.io.replicas import REPLICA, ReplicaTransport
from adaswitch.io.teacher_errors import error_of, is_retryable
from adaswitch.wire import (
    JSON_TYPE,
    TIMEOUT_HEADER,
    ModelInfo,
    safetensors_type,
    split_keys,
)

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0
READY_POLL_S = 0.5
SAY_EVERY_S = 10.0
"""While no teacher answers: how often that is said."""
FIRST_LOOK_S = 10.0
"""How long, at the start, each replica is waited for to say what it serves."""

T = TypeVar("T")


class PersistentClient(ABC):
    """Asks one teacher, or several of the same. ``say`` gets a line while there is no answer and it waits."""

    _model_path: str
    """Where a teacher says what it serves."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        max_wait_s: float,
        say: Callable[[str], None] = lambda line: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        replicas: Sequence[str] = (),
    ) -> None:
        """``replicas`` are all addresses; where there are several, each has to serve the same."""
        self._http = http
        self._max_wait_s = max_wait_s
        self._say = say
        self._sleep = sleep
        self._info: ModelInfo | None = None
        self._informant = self._url
        """Who has said so, for messages."""
        self._unseen = set(replicas) if len(replicas) > 1 else set()
        """Those that have not said what they serve."""
        self._looking = asyncio.Lock()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def _url(self) -> str:
        return str(self._http.base_url).rstrip("/")

    async def _wait_until_answered(self, path: str, timeout_s: float, on_wait: Callable[[str], None]) -> None:
        """Return once ``path`` says 200. Raises ``TeacherUnavailableError`` after ``timeout_s``.

        ``on_wait`` gets a line whenever what is waited for changes.
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
        """What is served, asked once. Raises ``ModelError`` where two replicas do not serve the same."""
        if self._info is None:
            info, url = await self._persist(lambda: self._look(None))
            self._informant = url
            self._unseen.discard(url)
            await self._compare_replicas(info)
            self._info = info
        return self._info

    @abstractmethod
    async def _info_of(self, response: httpx.Response) -> ModelInfo:
        """What is served by whom ``response`` is of, the answer to ``_model_path``. Each question is asked once."""

    async def _look(self, replica: str | None) -> tuple[ModelInfo, str]:
        """What one teacher serves, and its address: ``replica``, or any."""
        response = await self._send("GET", self._model_path, replica=replica)
        return await self._info_of(response), self._origin(response)

    def _origin(self, response: httpx.Response) -> str:
        url: str = response.extensions.get(REPLICA, self._url)
        return url

    async def _compare_replicas(self, info: ModelInfo) -> None:
        """With ``info``. Those that do not answer now are looked at when they first do."""

        async def compare(url: str) -> None:
            """One of them; who does not answer in time is no fault."""
            with contextlib.suppress(TeacherUnavailableError, TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_S):
                    await self._require_same(url, info)

        results = await asyncio.gather(*map(compare, sorted(self._unseen)), return_exceptions=True)
        for result in results:
            if result is not None:
                raise result

    async def _require_same(self, url: str, info: ModelInfo) -> None:
        """Raises ``ModelError`` unless the replica at ``url`` serves what ``info`` says."""
        try:
            theirs, _ = await self._look(url)
        except TeacherRejectedError as error:
            raise ModelError(f"teacher.replicas: {url} does not say what it serves: {error}") from None
        whats = ("model", "number of tokens", "tokenizer")
        for what, own, other in zip(whats, _identity(info), _identity(theirs), strict=True):
            if own != other:
                raise ModelError(
                    f"teacher.replicas: {url} serves another {what} than {self._informant}: {other} there, {own} here; "
                    "start both with one model, or leave one of the addresses out"
                )
        self._unseen.discard(url)

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        replica: str | None = None,
    ) -> httpx.Response:
        """One try, at ``replica`` or at any. Raises ``AdaSwitchError`` for every answer that is not a 2xx."""
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
        """One try for an answer that counts. A replica's first does only if it serves what the others do."""
        response = await self._send(method, path, content, headers)
        url = self._origin(response)
        if url in self._unseen:
            info = await self.model_info()
            async with self._looking:
                if url in self._unseen:
                    await self._require_same(url, info)
        return response

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until it works, for at most ``max_wait_s``, with a capped exponential back-off and jitter."""
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


def _identity(info: ModelInfo) -> tuple[str, int, str]:
    """What replicas have in common. Of the model's name that is the last part: folders differ between machines."""
    return PurePosixPath(info.model).name, info.vocab_size, info.tokenizer_sha256[:12]


class BoundedTransport(httpx.AsyncBaseTransport):
    """The whole of each answer over ``inner`` within ``timeout_s``; httpx's own limits are for each piece of it."""

    def __init__(self, inner: httpx.AsyncBaseTransport, timeout_s: float) -> None:
        self._inner = inner
        self._timeout_s = timeout_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, read. Raises ``httpx.ReadTimeout``."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._inner.handle_async_request(request)
                await response.aread()
        except TimeoutError:
            raise httpx.ReadTimeout(f"no whole answer within {self._timeout_s:g} s") from None
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def all_urls(config: TeacherConfig) -> list[str]:
    """The addresses of the teacher."""
    return [config.url, *config.replicas]


def http_client(
    config: TeacherConfig, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """The connections that ``config`` describes. The key comes from the environment variable that it names.

    Raises ``ConfigError`` for an address that nobody could have, and for a key that no header can hold.
    """
    urls = all_urls(config)
    for url in urls:
        _check_url(url)
    # No bound: httpcore counts a connection whose request was cancelled too early for ever (its issue 1093), and a
    # pool that is full of those answers nobody. Who asks sends few requests at once, and the service bounds them.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    bounded = BoundedTransport(
        transport or httpx.AsyncHTTPTransport(limits=limits),
        config.connect_timeout_s + config.request_timeout_s,
    )
    return httpx.AsyncClient(
        base_url=config.url,
        headers=_headers(config),
        timeout=httpx.Timeout(config.request_timeout_s, connect=config.connect_timeout_s),
        transport=ReplicaTransport(urls, bounded) if config.replicas else bounded,
    )


def _pause_s(error: Exception, backoff_s: float, left_s: float) -> float:
    """Between half and all of the back-off, no less than the service asked for, no more than is left."""
    wished_s = getattr(error, "retry_after_s", None) or 0.0
    # Not for secrecy: so that many students do not come back at once.
    jittered_s = backoff_s * random.uniform(0.5, 1.0)
    return max(0.0, min(max(wished_s, jittered_s), left_s))


def _headers(config: TeacherConfig) -> dict[str, str]:
    """Of every request: the key, the form of answers, and when nobody will wait for one any more."""
    headers = {"Accept": safetensors_type(config.logprobs), "Content-Type": JSON_TYPE}
    if config.api == "native":
        headers[TIMEOUT_HEADER] = f"{config.request_timeout_s:g}"
    keys = split_keys(os.environ.get(config.api_key_env, ""))
    if not keys:
        return headers
    key = keys[0]
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"teacher.api_key_env: the key in the environment variable {config.api_key_env} has characters that no "
            "HTTP header can hold; set it to plain ASCII, as the teacher has it"
        )
    return headers | {"Authorization": f"Bearer {key}"}


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host)
    except httpx.InvalidURL:
        usable = False
    if not usable:
        raise ConfigError(f"teacher.url: {url!r} is no address; write it as in http://127.0.0.1:8000")
