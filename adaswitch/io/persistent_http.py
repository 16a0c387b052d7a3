"""HTTP towards a teacher, whatever its routes: a connection pool, timeouts on every phase, patience.

Requests are safe to repeat: a score depends on its tokens alone, and what is generated on its seed.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping

import httpx
import numpy as np
from pydantic import ValidationError

from adaswitch.config.teacher import TeacherConfig
from adaswitch.errors import (
    ConfigError,
    NonFiniteError,
    TeacherError,
    TeacherProtocolError,
    TeacherRejectedError,
    TeacherUnavailableError,
)
from adaswitch.io.replicas import ReplicaTransport
from adaswitch.wire import (
    JSON_TYPE,
    TIMEOUT_HEADER,
    ErrorBody,
    ModelInfo,
    SequenceAnswer,
    safetensors_type,
    split_keys,
)

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0
READY_POLL_S = 0.5
RETRYABLE_STATUSES = {408, 429, 502, 503, 504}
MAX_SUM = 1.01
"""Of a row's probabilities: half precision on the way rounds each by up to half a percent."""
SAY_EVERY_S = 10.0
"""While no teacher answers: how often that is said."""


def is_retryable(error: Exception) -> bool:
    """Whether the same request may succeed later: nobody there, overloaded, draining, cut off."""
    return isinstance(error, TeacherUnavailableError)


class PersistentClient:
    """Asks one teacher, or several of the same. ``say`` gets a line while there is no answer and it waits."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        max_wait_s: float,
        say: Callable[[str], None] = lambda line: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._max_wait_s = max_wait_s
        self._say = say
        self._sleep = sleep

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

    async def _send(
        self, method: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One try. Raises ``TeacherError`` or ``NonFiniteError`` for every answer that is not a 2xx."""
        try:
            response = await self._http.request(method, path, content=content, headers=headers)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise TeacherUnavailableError(reason) from error
        except httpx.RequestError as error:
            raise TeacherProtocolError(f"{self._url}{path}: {error!r}") from error
        if not response.is_success:
            raise _error_of(response)
        return response

    async def _persist(self, attempt: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
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


def http_client(
    config: TeacherConfig, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """The connections that ``config`` describes. The key comes from the environment variable that it names.

    Raises ``ConfigError`` for an address that nobody could have.
    """
    urls = [config.url, *config.replicas]
    for url in urls:
        _check_url(url)
    keys = split_keys(os.environ.get(config.api_key_env, ""))
    # No bound: httpcore counts a connection whose request was cancelled too early for ever (its issue 1093), and a
    # pool that is full of those answers nobody. Who asks sends few requests at once, and the service bounds them.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    transport = transport or httpx.AsyncHTTPTransport(limits=limits)
    return httpx.AsyncClient(
        base_url=config.url,
        headers=_headers(config, keys),
        timeout=httpx.Timeout(config.request_timeout_s, connect=config.connect_timeout_s),
        transport=ReplicaTransport(urls, transport) if config.replicas else transport,
    )


def _pause_s(error: Exception, backoff_s: float, left_s: float) -> float:
    """Between half and all of the back-off, no less than the service asked for, no more than is left."""
    wished_s = getattr(error, "retry_after_s", None) or 0.0
    # Not for secrecy: so that many students do not come back at once.
    jittered_s = backoff_s * random.uniform(0.5, 1.0)
    return max(0.0, min(max(wished_s, jittered_s), left_s))


def _headers(config: TeacherConfig, keys: list[str]) -> dict[str, str]:
    """Of every request: the first of ``keys``, the form of answers, and when nobody will wait for one any more."""
    headers = {"Accept": safetensors_type(config.logprobs), "Content-Type": JSON_TYPE}
    headers[TIMEOUT_HEADER] = f"{config.request_timeout_s:g}"
    return headers | ({"Authorization": f"Bearer {keys[0]}"} if keys else {})


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host)
    except httpx.InvalidURL:
        usable = False
    if not usable:
        raise ConfigError(f"teacher.url: {url!r} is no address; write it as in http://127.0.0.1:8000")


def _error_of(response: httpx.Response) -> TeacherError | NonFiniteError:
    try:
        detail = ErrorBody.model_validate_json(response.content).error
        code, message, field = detail.code, detail.message, detail.field
    except ValidationError:
        code, message, field = "unknown", response.text[:200].strip() or response.reason_phrase, None
    text = f"{response.status_code} {message}"
    if code == "non_finite":
        # The same numbers would come again.
        return NonFiniteError(f"the teacher refused: {text}")
    if response.status_code in RETRYABLE_STATUSES:
        return TeacherUnavailableError(text, retry_after_s=_retry_after_s(response))
    if not response.is_client_error:
        return TeacherProtocolError(f"the teacher answered what its contract does not know: {text}")
    hint = f" ({field})" if field else ""
    if response.status_code == 401:
        hint = "; put its key into the environment variable that teacher.api_key_env names"
    return TeacherRejectedError(
        f"the teacher refused: {text}{hint}",
        status=response.status_code,
        code=code,
        field=field,
    )


def _retry_after_s(response: httpx.Response) -> float | None:
    """The seconds that Retry-After asks for; its other form, a date, is not used by the service."""
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def check_answer(answer: SequenceAnswer, num_rows: int, top_k: int, info: ModelInfo) -> None:
    """Raises unless every row and every log-probability is there, finite, and of a token that exists."""
    k = info.vocab_size if top_k == -1 else top_k
    shape = answer.top_ids.shape
    if shape != (num_rows, k) or answer.top_logprobs.shape != shape:
        raise TeacherProtocolError(f"{num_rows} rows of {k} log-probabilities asked, {shape} came")
    if answer.token_logprobs.shape != answer.token_ids.shape:
        raise TeacherProtocolError("a token came without its log-probability")
    for ids in (answer.token_ids, answer.top_ids):
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < info.vocab_size:
            raise TeacherProtocolError(f"a token came that is not among the teacher's {info.vocab_size}")
    if not (np.isfinite(answer.top_logprobs).all() and np.isfinite(answer.token_logprobs).all()):
        raise NonFiniteError("a log-probability of the teacher's is not finite")
    if (np.diff(np.sort(answer.top_ids, axis=1), axis=1) == 0).any():
        raise TeacherProtocolError("a row came with the same token twice")
    if answer.top_logprobs.size and float(np.exp(answer.top_logprobs).sum(-1).max()) > MAX_SUM:
        raise TeacherProtocolError("a row came whose probabilities add up to more than 1")
