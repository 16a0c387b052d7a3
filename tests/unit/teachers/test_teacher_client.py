"""The teacher's client: against the real app without a socket, and against services that misbehave."""

import asyncio
import contextlib
import random
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.wire import (
    GeneratePrompt,
    GenerateRequest,
    ScoreSequence,
    answers_to_safetensors,
)
from adaswitch.errors import (
    ConfigError,
    NonFiniteError,
    TeacherProtocolError,
    TeacherRejectedError,
    TeacherUnavailableError,
)
from adaswitch.teachers.connections import http_client
from adaswitch.teachers.errors import is_retryable
from adaswitch.teachers.native import TeacherClient
from adaswitch.teachers.persistent_http import LONGEST_BACKOFF_S
from tests.teacher_fakes import VOCAB_SIZE, FakeEngine, fake_answer, fake_info, fake_logprobs, running_app

SEQUENCES = [ScoreSequence(token_ids=[3, 1, 4], start=1), ScoreSequence(token_ids=[2], start=1)]
REQUEST = GenerateRequest(prompts=[GeneratePrompt(token_ids=[3, 1], max_tokens=4, seed=7)], top_k=2)
GOOD = fake_answer([3], [1, 4], 3, 2)
Handler = Callable[[httpx.Request], httpx.Response]


class Clock:
    """Stands in for ``asyncio.sleep``: notes how long was slept, and lets others run."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def make_client(transport: httpx.AsyncBaseTransport, clock: Clock | None = None, **changes) -> TeacherClient:
    config = TeacherConfig.model_validate({"url": "http://teacher:8000", **changes})
    client = TeacherClient.from_config(config, transport=transport)
    client._sleep = (clock or Clock()).sleep
    return client


def answering(handler: Handler, **changes: object) -> TeacherClient:
    """A client of a service that answers ``/v1/model`` rightly and everything else by ``handler``."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/model":
            return httpx.Response(200, content=fake_info().model_dump_json())
        return handler(request)

    return make_client(httpx.MockTransport(handle), **changes)


def error_response(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(
        status, json={"error": {"code": code, "message": "as it is", "field": "top_k"}}, headers=headers
    )


async def test_score_and_generate_bring_the_engines_numbers():
    async with running_app(FakeEngine()) as app:
        client = make_client(httpx.ASGITransport(app))
        first, second = await client.score(SEQUENCES, top_k=-1)
        assert first.token_ids.tolist() == [1, 4]
        assert (first.top_ids.shape, second.top_ids.shape) == ((3, VOCAB_SIZE), (1, VOCAB_SIZE))
        by_id = np.empty(VOCAB_SIZE, np.float32)
        by_id[second.top_ids[0]] = second.top_logprobs[0]
        np.testing.assert_array_equal(by_id, fake_logprobs([2]))
        (written,) = await client.generate(REQUEST)
        assert (len(written.token_ids), written.top_ids.shape, written.finish_reason) == (4, (4, 2), "length")
        assert await client.model_info() == fake_info()
        await client.aclose()


async def test_the_model_is_asked_for_once():
    paths = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, content=fake_info().model_dump_json())

    client = make_client(httpx.MockTransport(handle))
    assert await client.model_info() == await client.model_info()
    assert paths == ["/v1/model"]


async def test_the_key_comes_from_the_environment(monkeypatch):
    async with running_app(FakeEngine(), api_keys=["secret"]) as app:
        monkeypatch.setenv("MY_TEACHER_KEY", "secret")
        client = make_client(httpx.ASGITransport(app), api_key_env="MY_TEACHER_KEY")
        assert len(await client.score(SEQUENCES, top_k=1)) == 2
        stranger = make_client(httpx.ASGITransport(app))
        with pytest.raises(TeacherRejectedError, match=r"401 .*teacher\.api_key_env") as caught:
            await stranger.score(SEQUENCES, top_k=1)
        assert (caught.value.status, caught.value.code) == (401, "unauthorized")


@pytest.mark.parametrize("key", ["s\u00e9same-ouvre-toi", "ring\x07"])
def test_a_key_that_no_header_can_hold_is_one_line_without_it(monkeypatch, key):
    monkeypatch.setenv("MY_TEACHER_KEY", key)
    with pytest.raises(ConfigError, match=r"teacher\.api_key_env: .* MY_TEACHER_KEY") as caught:
        TeacherClient.from_config(TeacherConfig(api_key_env="MY_TEACHER_KEY"))
    assert key not in str(caught.value)


async def test_every_try_of_one_request_has_one_name_and_each_says_how_long_it_is_waited_for():
    seen: list[httpx.Headers] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        if len(seen) % 3:
            return error_response(503, "not_ready")
        return httpx.Response(200, content=answers_to_safetensors([GOOD]))

    client = answering(handle, request_timeout_s=2.5)
    for _ in range(2):
        await client.score(SEQUENCES[:1], top_k=2)
    names = [headers["X-Request-Id"] for headers in seen]
    assert [len(set(names[:3])), len(set(names[3:])), len(set(names))] == [1, 1, 2]
    assert {headers["X-Request-Timeout-S"] for headers in seen} == {"2.5"}


async def test_a_wrong_request_is_refused_at_once_with_its_field():
    async with running_app(FakeEngine()) as app:
        clock = Clock()
        client = make_client(httpx.ASGITransport(app), clock)
        with pytest.raises(TeacherRejectedError) as caught:
            await client.score([ScoreSequence(token_ids=[1, VOCAB_SIZE], start=1)], top_k=1)
        assert (caught.value.status, caught.value.field) == (422, "sequences.0.token_ids.1")
        assert clock.slept == []


@pytest.mark.parametrize(
    "failure",
    [
        lambda: error_response(503, "not_ready"),
        lambda: error_response(429, "queue_full"),
        lambda: httpx.Response(502, text="<html>Bad Gateway</html>"),
        lambda: httpx.Response(504),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("Server disconnected"),
    ],
)
async def test_what_may_pass_is_tried_again(failure):
    clock = Clock()
    num_left = 3

    def handle(_: httpx.Request) -> httpx.Response:
        nonlocal num_left
        num_left -= 1
        if num_left > 0:
            if isinstance(failure, Exception):
                raise failure
            return failure()
        return httpx.Response(200, content=fake_info().model_dump_json())

    client = make_client(httpx.MockTransport(handle), clock)
    assert await client.model_info() == fake_info()
    assert len(clock.slept) == 2


async def test_waiting_is_as_long_as_the_service_asks_for():
    clock = Clock()
    answers = iter([error_response(429, "queue_full", **{"Retry-After": "7"})])

    def handle(_: httpx.Request) -> httpx.Response:
        return next(answers, httpx.Response(200, content=fake_info().model_dump_json()))

    await make_client(httpx.MockTransport(handle), clock).model_info()
    assert clock.slept == [7.0]


async def test_a_teacher_that_stays_away_is_given_up_in_one_line():
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("All connection attempts failed")

    client = make_client(httpx.MockTransport(refuse), max_wait_s=1e-9)
    with pytest.raises(TeacherUnavailableError) as caught:
        await client.score(SEQUENCES, top_k=1)
    message = str(caught.value)
    assert message.startswith("no teacher answers at http://teacher:8000")
    assert "python -m services.teacher --model DIR" in message
    assert "teacher.url" in message
    assert "\n" not in message


async def test_waits_double_up_to_a_bound_with_jitter_below():
    clock = Clock()
    client = make_client(httpx.MockTransport(lambda _: httpx.Response(200)), clock, max_wait_s=1e6)
    num_left = 12

    async def attempt() -> httpx.Response:
        nonlocal num_left
        num_left -= 1
        if num_left > 0:
            raise TeacherUnavailableError("away")
        return httpx.Response(200)

    await client._persist(attempt)
    for n, slept_s in enumerate(clock.slept):
        longest_s = min(LONGEST_BACKOFF_S, 0.1 * 2**n)
        assert longest_s / 2 <= slept_s <= longest_s
    assert len(clock.slept) == 11


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (TeacherUnavailableError("away"), True),
        (TeacherRejectedError("no", status=422, code="x"), False),
        (TeacherProtocolError("odd"), False),
        (NonFiniteError("nan"), False),
        (httpx.ReadTimeout("slow"), True),
        (httpx.TooManyRedirects("round and round"), False),
        (error_response(429, "queue_full"), True),
        (error_response(503, "engine_fault"), True),
        (error_response(503, "non_finite"), False),
        (error_response(422, "out_of_range"), False),
        (httpx.Response(500), False),
        (httpx.Response(502), True),
    ],
)
def test_only_what_may_pass_is_retryable(error, retryable):
    assert is_retryable(error) is retryable


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (lambda: error_response(503, "non_finite"), NonFiniteError),
        (lambda: error_response(500, "internal"), TeacherProtocolError),
        (lambda: error_response(404, "not_found"), TeacherRejectedError),
        (lambda: httpx.Response(302, headers={"Location": "/elsewhere"}), TeacherProtocolError),
        (lambda: httpx.Response(200, content=b"{}"), TeacherProtocolError),
    ],
)
async def test_what_will_not_pass_is_raised_at_once(response, kind):
    client = answering(lambda _: response())
    with pytest.raises(kind, match="teacher"):
        await client.score(SEQUENCES, top_k=1)


async def test_waiting_for_readiness_says_what_is_waited_for_once():
    engine = FakeEngine()
    engine.loaded.clear()
    notes: list[str] = []
    async with running_app(engine, settled=False) as app:
        clock = Clock()
        client = make_client(httpx.ASGITransport(app), clock)

        async def sleep(seconds: float) -> None:
            await clock.sleep(seconds)
            if len(clock.slept) == 3:
                engine.loaded.set()
                await app.state.service.settled.wait()

        client._sleep = sleep
        await client.wait_until_ready(60.0, notes.append)
    assert len(clock.slept) == 3
    assert notes == ["waiting for the teacher at http://teacher:8000: 503 the model is being loaded"]


async def test_a_ready_teacher_is_not_waited_for():
    notes: list[str] = []
    async with running_app(FakeEngine()) as app:
        await make_client(httpx.ASGITransport(app)).wait_until_ready(0.0, notes.append)
    assert notes == []


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (error_response(503, "not_ready"), TeacherUnavailableError, "no teacher answers at"),
        (httpx.Response(404), TeacherProtocolError, "it is no teacher service"),
    ],
)
async def test_waiting_for_readiness_ends(response, kind, words):
    client = make_client(httpx.MockTransport(lambda _: response))
    with pytest.raises(kind, match=words):
        await client.wait_until_ready(0.0, lambda _: None)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "teacher", "ftp://teacher", "http://", "http://[::"])
def test_an_address_that_is_none_is_a_config_error(url):
    with pytest.raises(ConfigError, match=r"teacher\.url"):
        TeacherClient.from_config(TeacherConfig(url=url))


class SlowService(asyncio.Protocol):
    """Answers every request with an empty 200 after 20 ms."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        asyncio.get_running_loop().call_later(0.02, self.transport.write, answer)


async def test_requests_that_are_given_up_cost_no_connection():
    """httpcore's pool loses those that it gives to who has just gone, once it is at its bound (its issue 1093)."""
    server = await asyncio.get_running_loop().create_server(SlowService, "127.0.0.1", 0)
    (port,) = {bound.getsockname()[1] for bound in server.sockets}
    chance = random.Random(0)
    async with http_client(TeacherConfig(url=f"http://127.0.0.1:{port}")) as http:

        async def give_up() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0.0, 0.06)):
                    await http.get("/readyz")

        for _ in range(12):
            await asyncio.gather(*(give_up() for _ in range(128)))
        async with asyncio.timeout(5.0):
            assert (await http.get("/readyz")).status_code == 200
    server.close()


class DrippingService(asyncio.Protocol):
    """Begins an answer at once, sends a byte of it every 20 ms, and never ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        self.drip()

    def drip(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"x")
            asyncio.get_running_loop().call_later(0.02, self.drip)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport.close()


async def test_an_answer_that_only_drips_is_not_waited_for_without_end():
    server = await asyncio.get_running_loop().create_server(DrippingService, "127.0.0.1", 0)
    (port,) = {bound.getsockname()[1] for bound in server.sockets}
    config = TeacherConfig(
        url=f"http://127.0.0.1:{port}", request_timeout_s=0.1, connect_timeout_s=0.1, max_wait_s=0.1
    )
    client = TeacherClient.from_config(config)
    async with asyncio.timeout(5.0):
        with pytest.raises(TeacherUnavailableError, match=r"no whole answer within 0\.2 s"):
            await client.model_info()
    await client.aclose()
    server.close()
