"""The teacher service on real sockets, with a fake engine: clients that are silent, slow, hasty or never read."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest

from adaswitch.contract.wire import ScoreSequence, SequenceAnswer
from services.teacher.http.app import create_app
from services.teacher.http.binding import bind
from services.teacher.http.keys import KeyRing
from services.teacher.serve import serve
from tests.service_fixtures import unused_port
from tests.teacher_fakes import FakeEngine, service_config
from tests.unit.services.teacher.http.test_teacher_app import SCORE, metric

NUM_ROWS, TOP_K = 60_000, 64
"""Of an answer that no socket's buffers hold: 31 MB."""


class LargeEngine(FakeEngine):
    """Answers far more than was asked for."""

    async def score(self, sequences: Sequence[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        await self._work()
        return [
            SequenceAnswer(
                np.zeros(NUM_ROWS, np.int32),
                np.zeros(NUM_ROWS, np.float32),
                np.zeros((NUM_ROWS, TOP_K), np.int32),
                np.full((NUM_ROWS, TOP_K), -9.0, np.float32),
            )
        ]


@asynccontextmanager
async def served(engine: FakeEngine, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    """The service on a port, as the process runs it, until the block ends or it was told to by a signal."""
    config = service_config(port=unused_port(), **settings)
    app = create_app(engine, config, KeyRing([]))
    with bind(config) as bound:
        serving = asyncio.create_task(serve(app, bound, config, KeyRing([]), lambda line: None))
        await app.state.service.settled.wait()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.port}") as client:
            yield client
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10.0):
            await serving


def request(body: dict[str, object] = SCORE, path: str = "/v1/score") -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAccept: application/x-safetensors\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@asynccontextmanager
async def connected(
    client: httpx.AsyncClient, first: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port, limit=2**16)
    try:
        writer.write(first)
        yield reader, writer
    finally:
        writer.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another task brings about; ``condition`` may be a coroutine function."""
    async with asyncio.timeout(5.0):
        while not (await found if asyncio.iscoroutine(found := condition()) else found):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def in_flight(client: httpx.AsyncClient) -> float:
    return await metric(client, "adaswitch_teacher_requests_in_flight")


async def test_an_answer_that_nobody_takes_keeps_its_place_and_memory_until_it_is_cut_off() -> None:
    async with (
        served(LargeEngine(), send_timeout_s=0.5) as client,
        connected(client, request()) as (reader, _),
    ):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await in_flight(client) == 1
        assert await metric(client, "adaswitch_teacher_logprob_bytes_in_flight") > 0
        cut_off = 'adaswitch_teacher_requests_cancelled_total{reason="slow_reader"}'

        async def is_cut_off() -> bool:
            return (await in_flight(client)) == 0

        await until(is_cut_off)
        assert await metric(client, cut_off) == 1
        assert await metric(client, "adaswitch_teacher_logprob_bytes_in_flight") == 0
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(NUM_ROWS * TOP_K * 8)


async def test_an_answer_on_its_way_is_finished_after_sigterm() -> None:
    engine = LargeEngine()
    async with served(engine, drain_timeout_s=5.0) as client, connected(client, request()) as (reader, _):
        head = await reader.readuntil(b"\r\n\r\n")
        os.kill(os.getpid(), signal.SIGTERM)

        async def is_draining() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await until(is_draining)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert len(await reader.readexactly(length)) == length
    assert engine.closed


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
async def test_headers_that_do_not_come_end_the_connection(sent: bytes) -> None:
    async with served(FakeEngine(), header_timeout_s=0.1) as client, connected(client, sent) as (reader, _):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "headers_timeout"


async def test_the_next_request_of_a_connection_has_time_of_its_own() -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with (
        served(FakeEngine(), header_timeout_s=0.2) as client,
        connected(client, get) as (reader, writer),
    ):
        await reader.readuntil(b"}")
        await asyncio.sleep(0.3)  # longer than headers may take: none are on their way
        writer.write(get)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        writer.write(get[:9])
        assert b"408" in await reader.read()


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_headers_that_are_too_long_are_refused_with_or_without_their_end(end: bytes) -> None:
    long = b"GET /healthz HTTP/1.1\r\n" + b"X-Much: " + b"y" * 70_000 + end
    async with served(FakeEngine()) as client, connected(client, long) as (reader, _):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 431")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "headers_too_large"


async def test_what_is_no_http_is_refused_in_the_contracts_form() -> None:
    async with (
        served(FakeEngine()) as client,
        connected(client, b"\x16\x03\x01 hello\r\n\r\n") as (reader, _),
    ):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "not_http"


async def test_connections_beyond_their_number_are_dropped() -> None:
    async with served(FakeEngine(), max_connections=2) as client, connected(client, b"") as (_, first):
        await client.get("/healthz")
        async with connected(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") as (reader, _):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert (await client.get("/healthz")).status_code == 200
        first.close()


async def test_a_hang_up_is_seen_behind_a_second_request() -> None:
    engine = FakeEngine()
    async with served(engine) as client:
        engine.hold = asyncio.Event()
        engine.entered.clear()
        async with connected(client, request() + request()) as (_, writer):
            await engine.entered.wait()
            writer.close()
            await until(lambda: engine.num_cancelled == 1)
        engine.hold = None
        assert (await client.post("/v1/score", json=SCORE)).status_code == 200


async def test_a_second_request_that_was_not_read_ends_the_connection_with_the_first_answer() -> None:
    engine = FakeEngine()
    async with served(engine) as client:
        engine.hold = asyncio.Event()
        engine.entered.clear()
        num_before = engine.num_entered
        async with connected(client, request() + request()) as (reader, _):
            await engine.entered.wait()
            engine.hold.set()
            answer = await reader.read()
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in answer.lower()
        assert engine.num_entered == num_before + 1


async def test_a_deadline_counts_while_the_body_is_waited_for() -> None:
    head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nX-Request-Timeout-S: 0.1\r\nContent-Length: 90\r\n\r\n{"
    async with served(FakeEngine()) as client, connected(client, head) as (reader, _):
        assert (await reader.read()).startswith(b"HTTP/1.1 504")


async def test_bodies_have_so_much_memory_and_no_more() -> None:
    part = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 700000\r\n\r\n" + b" " * 699_000
    limits = {"body_memory_mib": 1, "max_body_bytes": 800_000}
    async with served(FakeEngine(), **limits) as client, connected(client, part):

        async def is_full() -> bool:
            answered = await client.post("/v1/score", content=b" " * 700_000)
            assert answered.status_code in (400, 429)
            return answered.status_code == 429

        await until(is_full)
        assert (await client.post("/v1/score", json=SCORE)).status_code == 200
