"""The teacher service's life on a fake engine: readiness, hanging up, draining, the engine's end."""

import asyncio
import json
import os
import re
import signal
import socket

import httpx
import pytest

from adaswitch.errors import EnvironmentProblem, ModelError
from services.teacher.engines.engine import EngineLostError, all_or_none
from services.teacher.http.app import create_app
from services.teacher.http.binding import bind, check_binding
from services.teacher.http.keys import KeyRing
from services.teacher.http.metrics import TeacherMetrics
from services.teacher.serve import serve
from tests.service_fixtures import unused_port
from tests.teacher_fakes import FakeEngine, http_client, running_app, service_config
from tests.unit.services.teacher.http.test_teacher_app import SCORE, call_asgi, error_of, metric


async def code_of(client: httpx.AsyncClient, path: str) -> tuple[int, str]:
    response = await client.get(path)
    return response.status_code, error_of(response)["code"]


async def test_the_service_is_not_ready_before_the_model_is_loaded_and_warm():
    engine = FakeEngine()
    engine.loaded.clear()
    engine.hold = asyncio.Event()
    async with running_app(engine, settled=False) as app, http_client(app) as client:
        for path in ("/readyz", "/v1/model"):
            assert await code_of(client, path) == (503, "not_ready")
        assert (await client.post("/v1/score", json=SCORE)).headers["retry-after"]
        assert (await client.get("/healthz")).status_code == 200
        engine.loaded.set()
        await engine.entered.wait()
        # Loaded, but the warm-up score has not been answered.
        assert await code_of(client, "/readyz") == (503, "not_ready")
        engine.hold.set()
        await app.state.service.settled.wait()
        assert (await client.get("/readyz")).status_code == 200
        assert await metric(client, "adaswitch_teacher_ready") == 1
    assert engine.closed


@pytest.mark.parametrize("error", [ModelError("no such model"), RuntimeError("a bug")])
async def test_an_engine_that_does_not_start_is_reported(error):
    engine = FakeEngine()
    engine.start_error = error
    async with running_app(engine) as app, http_client(app) as client:
        assert app.state.service.failure is error
        assert await code_of(client, "/readyz") == (503, "engine_lost")
        assert (await client.get("/healthz")).status_code == 200
    assert engine.closed


async def test_an_engine_that_dies_is_noticed_without_a_request(monkeypatch):
    monkeypatch.setattr("services.teacher.http.lifecycle.HEALTH_INTERVAL_S", 0.001)
    engine = FakeEngine()
    async with running_app(engine) as app, http_client(app) as client:
        engine.alive = False
        await app.state.service.lost.wait()
        assert await code_of(client, "/readyz") == (503, "engine_lost")
        assert (await client.post("/v1/score", json=SCORE)).status_code == 503
        assert await metric(client, "adaswitch_teacher_ready") == 0


async def test_a_client_that_hangs_up_frees_its_place():
    engine = FakeEngine()
    async with running_app(engine) as app, http_client(app) as client:
        engine.hold = asyncio.Event()
        engine.entered.clear()
        messages: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": json.dumps(SCORE).encode(), "more_body": False})
        call = asyncio.create_task(call_asgi(app, "/v1/score", messages.get))
        await engine.entered.wait()
        assert await metric(client, "adaswitch_teacher_requests_in_flight") == 1
        messages.put_nowait({"type": "http.disconnect"})
        status, _ = await call
        assert (status, engine.num_cancelled) == (499, 1)
        assert await metric(client, "adaswitch_teacher_requests_in_flight") == 0
        assert await metric(client, 'adaswitch_teacher_requests_total{code="499",route="/v1/score"}') == 1


async def test_a_client_that_hangs_up_within_its_body_frees_its_place():
    engine = FakeEngine()
    async with running_app(engine) as app, http_client(app) as client:

        async def receive() -> dict[str, object]:
            return {"type": "http.disconnect"}

        status, _ = await call_asgi(app, "/v1/score", receive)
        assert status == 499
        assert await metric(client, "adaswitch_teacher_requests_in_flight") == 0


async def test_draining_refuses_new_work_and_finishes_the_old():
    engine = FakeEngine()
    async with running_app(engine) as app, http_client(app) as client:
        engine.hold = asyncio.Event()
        engine.entered.clear()
        under_way = asyncio.create_task(client.post("/v1/score", json=SCORE))
        await engine.entered.wait()
        draining = asyncio.create_task(app.state.service.drain(60.0))
        await asyncio.sleep(0)
        for path in ("/readyz", "/v1/model"):
            assert await code_of(client, path) == (503, "draining")
        assert (await client.post("/v1/score", json=SCORE)).status_code == 503
        assert not draining.done()
        engine.hold.set()
        assert (await under_way).status_code == 200
        await draining


async def test_what_takes_longer_than_the_drain_timeout_is_ended_with_503():
    engine = FakeEngine()
    async with running_app(engine) as app, http_client(app) as client:
        engine.hold = asyncio.Event()
        engine.entered.clear()
        under_way = asyncio.create_task(client.post("/v1/score", json=SCORE))
        await engine.entered.wait()
        await app.state.service.drain(0.01)
        response = await under_way
        assert (response.status_code, error_of(response)["code"]) == (503, "draining")
        assert engine.num_cancelled == 1


async def test_metrics_count_tokens_and_carry_the_engines_own():
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        await client.post("/v1/score", json=SCORE)
        generate = {"prompts": [{"token_ids": [1], "max_tokens": 4, "seed": 0}] * 2, "top_k": 0}
        await client.post("/v1/generate", json=generate)
        await client.get("/made/up")
        assert await metric(client, "adaswitch_teacher_scored_tokens_total") == 3
        assert await metric(client, "adaswitch_teacher_generated_tokens_total") == 8
        assert await metric(client, 'adaswitch_teacher_request_seconds_count{route="/v1/score"}') == 1
        assert await metric(client, 'adaswitch_teacher_requests_total{code="404",route="other"}') == 1
        assert await metric(client, "fake_engine_metric") == 1


async def test_the_openapi_document_describes_the_bodies():
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        document = (await client.get("/openapi.json")).json()
    for path, field in (("/v1/score", "sequences"), ("/v1/generate", "prompts")):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        target = document
        for step in body["properties"][field]["items"]["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/")]
        assert "token_ids" in target["properties"]


async def test_the_first_failure_ends_the_others():
    cancelled = asyncio.Event()

    async def wait_forever() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return 1

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ModelError("this one")

    with pytest.raises(ModelError, match="this one"):
        await all_or_none([wait_forever(), fail()])
    assert cancelled.is_set()


@pytest.mark.parametrize(
    ("host", "keys", "insecure", "allowed"),
    [
        ("127.0.0.1", [], False, True),
        ("::1", [], False, True),
        ("localhost", [], False, True),
        ("0.0.0.0", [], False, False),
        ("teacher.example", [], False, False),
        ("0.0.0.0", ["key"], False, True),
        ("0.0.0.0", [], True, True),
    ],
)
def test_without_a_key_only_loopback_is_bound(host, keys, insecure, allowed):
    config = service_config(host=host, insecure=insecure)
    if allowed:
        check_binding(config, keys)
    else:
        with pytest.raises(EnvironmentProblem, match="ADASWITCH_API_KEY"):
            check_binding(config, keys)


def test_an_occupied_port_is_refused():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=f"127.0.0.1:{port}"):
            bind(service_config(port=port))
    bind(service_config(port=port)).close()


async def test_answers_do_not_wait_for_the_acknowledgement_of_their_headers():
    connected: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = writer.get_extra_info("socket")
        connected.set_result(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    bound = bind(service_config(port=unused_port()))
    async with await asyncio.start_server(look, sock=bound):
        _, writer = await asyncio.open_connection(*bound.getsockname())
        assert await connected
        writer.close()
        await writer.wait_closed()


async def test_a_slow_start_is_said_and_goes_on():
    engine, config = FakeEngine(), service_config(port=unused_port(), slow_start_s=0.01)
    said: asyncio.Queue[str] = asyncio.Queue()
    engine.loaded.clear()
    app = create_app(engine, config, KeyRing([]))
    with bind(config) as bound:
        serving = asyncio.create_task(serve(app, bound, config, KeyRing([]), said.put_nowait))
        assert (await said.get()).startswith("error: not ready after 0.01 s: fake is still being loaded")
        engine.loaded.set()
        assert (await said.get()).startswith("teacher ready at")
        os.kill(os.getpid(), signal.SIGTERM)
        await serving


@pytest.mark.parametrize(
    ("words", "message"),
    [(None, r"^the engine has died$"), ("RuntimeError: no", r"^the engine has died: RuntimeError: no$")],
)
async def test_a_dead_engine_ends_the_service_in_its_own_words(words, message, monkeypatch):
    engine, config, said = FakeEngine(), service_config(port=unused_port()), []
    monkeypatch.setattr(engine, "why_lost", lambda: words)
    app = create_app(engine, config, KeyRing([]))
    with bind(config) as bound:
        serving = asyncio.create_task(serve(app, bound, config, KeyRing([]), said.append))
        await app.state.service.settled.wait()
        engine.alive = False
        with pytest.raises(EngineLostError, match=message):
            await serving
    assert len(said) == 1


def test_time_in_which_the_engine_has_any_request_counts_once():
    now_s = [0.0]
    metrics = TeacherMetrics(lambda: now_s[0])

    def busy_s() -> float:
        return float(
            re.search(r"^adaswitch_teacher_busy_seconds_total (.+)$", metrics.text(), re.MULTILINE)[1]
        )

    assert busy_s() == 0.0
    now_s[0] = 1.0
    with metrics.at_work():
        now_s[0] = 2.0
        with metrics.at_work():
            now_s[0] = 4.0
        assert busy_s() == 3.0  # also while it goes on
        now_s[0] = 5.0
    now_s[0] = 9.0
    assert busy_s() == 4.0


async def test_a_request_makes_the_engine_busy_also_if_it_fails():
    async with running_app(engine := FakeEngine()) as app, http_client(app) as client:
        assert await metric(client, "adaswitch_teacher_busy_seconds_total") == 0.0
        engine.error = ValueError("broken")
        await client.post("/v1/score", json=SCORE)
        busy_s = await metric(client, "adaswitch_teacher_busy_seconds_total")
        assert busy_s > 0.0
        assert await metric(client, "adaswitch_teacher_busy_seconds_total") == busy_s
