"""The teacher's REST contract on a fake engine, without sockets."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaswitch.contract.wire import SAFETENSORS_TYPE, answers_from_json, answers_from_safetensors
from adaswitch.errors import NonFiniteError
from services.teacher.engines.engine import EngineFaultError, EngineLostError, RequestRefusedError
from tests.teacher_fakes import (
    MAX_MODEL_LEN,
    VOCAB_SIZE,
    FakeEngine,
    fake_info,
    fake_logprobs,
    http_client,
    post_scope,
    running_app,
)

SCORE = {"sequences": [{"token_ids": [3, 1, 4, 1, 5], "start": 2}], "top_k": 3}
GENERATE = {"prompts": [{"token_ids": [3, 1], "max_tokens": 4, "seed": 7}], "top_k": 2}
PROMPT = GENERATE["prompts"][0]


def error_of(response: httpx.Response) -> dict[str, str]:
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert set(document) == {"error"}
    assert set(document["error"]) <= {"code", "message", "field"}
    return document["error"]


async def metric(client: httpx.AsyncClient, sample: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return float(next(line.split(" ")[1] for line in lines if line.startswith(sample + " ")))


@pytest.fixture
async def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def client(engine) -> AsyncIterator[httpx.AsyncClient]:
    async with running_app(engine) as app, http_client(app) as client:
        yield client


async def test_score_gives_the_rows_from_start_to_the_next_token(client):
    response = await client.post("/v1/score", json=SCORE)
    (answer,) = answers_from_json(response.json())
    assert response.status_code == 200
    assert answer.token_ids.tolist() == [4, 1, 5]
    assert answer.top_ids.shape == answer.top_logprobs.shape == (4, 3)
    for j, length in enumerate(range(2, 6)):
        expected = fake_logprobs([3, 1, 4, 1, 5][:length])
        np.testing.assert_array_equal(answer.top_logprobs[j], np.sort(expected)[::-1][:3])
    assert response.json()["sequences"][0].keys() == {
        "token_ids",
        "token_logprobs",
        "top_ids",
        "top_logprobs",
    }


@pytest.mark.parametrize(("path", "body"), [("/v1/score", SCORE), ("/v1/generate", GENERATE)])
async def test_safetensors_carries_the_same_as_json(client, path, body):
    plain = await client.post(path, json=body)
    binary = await client.post(path, json=body, headers={"Accept": f"text/html, {SAFETENSORS_TYPE};q=0.9"})
    assert binary.headers["content-type"] == SAFETENSORS_TYPE
    for one, other in zip(
        answers_from_json(plain.json()), answers_from_safetensors(binary.content), strict=True
    ):
        np.testing.assert_array_equal(one.token_ids, other.token_ids)
        np.testing.assert_array_equal(one.token_logprobs, other.token_logprobs)
        np.testing.assert_array_equal(one.top_ids, other.top_ids)
        np.testing.assert_array_equal(one.top_logprobs, other.top_logprobs)
        assert one.finish_reason == other.finish_reason


async def test_generate_says_why_it_ended(client):
    response = await client.post("/v1/generate", json=GENERATE)
    (answer,) = answers_from_json(response.json())
    assert (len(answer.token_ids), answer.finish_reason) == (4, "length")
    stopping = {**PROMPT, "stop_token_ids": [int(answer.token_ids[1])]}
    response = await client.post("/v1/generate", json={**GENERATE, "prompts": [stopping]})
    (stopped,) = answers_from_json(response.json())
    first = answer.token_ids.tolist().index(answer.token_ids[1])
    assert (stopped.token_ids.tolist(), stopped.finish_reason) == (
        answer.token_ids.tolist()[: first + 1],
        "stop",
    )


@pytest.mark.parametrize(("top_k", "k"), [(0, 0), (1, 1), (VOCAB_SIZE, VOCAB_SIZE), (-1, VOCAB_SIZE)])
async def test_top_k_from_none_to_the_whole_vocabulary(client, top_k, k):
    response = await client.post("/v1/score", json={**SCORE, "top_k": top_k})
    assert np.array(response.json()["sequences"][0]["top_ids"]).shape == (4, k)


async def test_minus_one_is_refused_where_the_whole_vocabulary_is_not_served():
    async with running_app(FakeEngine(fake_info(max_top_k=4))) as app, http_client(app) as client:
        response = await client.post("/v1/score", json={**SCORE, "top_k": -1})
        assert (response.status_code, error_of(response)["field"]) == (422, "top_k")


async def test_the_model_says_what_it_is(client, engine):
    assert (await client.get("/v1/model")).json() == engine.info.model_dump()


LONG = [1] * MAX_MODEL_LEN
WRONG_BODIES = [
    ("/v1/score", b"", 400, "not_json", None),
    ("/v1/score", b'{"sequences": [', 400, "not_json", None),
    ("/v1/score", b"\xff\xfe", 400, "not_json", None),
    ("/v1/score", b"[" * 9_000, 400, "not_json", None),
    ("/v1/score", b"[" * 100_000, 422, "out_of_range", None),
    ("/v1/score", b"[]", 422, "invalid_field", None),
    ("/v1/score", b"{}", 422, "invalid_field", "sequences"),
    ("/v1/score", {**SCORE, "top_p": 1.0}, 422, "invalid_field", "top_p"),
    ("/v1/score", {**SCORE, "top_k": VOCAB_SIZE + 1}, 422, "out_of_range", "top_k"),
    ("/v1/score", {**SCORE, "top_k": -2}, 422, "invalid_field", "top_k"),
    ("/v1/score", {**SCORE, "top_k": 10**400}, 422, "invalid_field", "top_k"),
    ("/v1/score", b'{"top_k": 1' + b"0" * 9999 + b"}", 400, "not_json", None),
    ("/v1/score", {**SCORE, "top_k": float("nan")}, 422, "invalid_field", "top_k"),
    (
        "/v1/score",
        {"sequences": [{"token_ids": [1], "start": 2}], "top_k": 0},
        422,
        "invalid_field",
        "sequences.0.start",
    ),
    (
        "/v1/score",
        {"sequences": [{"token_ids": [1, VOCAB_SIZE], "start": 1}], "top_k": 0},
        422,
        "out_of_range",
        "sequences.0.token_ids.1",
    ),
    (
        "/v1/score",
        {"sequences": [{"token_ids": LONG, "start": 1}], "top_k": 0},
        422,
        "out_of_range",
        "sequences.0.token_ids",
    ),
    (
        "/v1/score",
        {"sequences": [{"token_ids": LONG[1:], "start": 1}] * 5, "top_k": 0},
        422,
        "out_of_range",
        "sequences",
    ),
    ("/v1/generate", {**GENERATE, "temperature": -1}, 422, "invalid_field", "temperature"),
    (
        "/v1/generate",
        {**GENERATE, "prompts": [{**PROMPT, "max_tokens": MAX_MODEL_LEN - 1}]},
        422,
        "out_of_range",
        "prompts.0.max_tokens",
    ),
    (
        "/v1/generate",
        {**GENERATE, "prompts": [PROMPT, {**PROMPT, "stop_token_ids": [0, 99]}]},
        422,
        "out_of_range",
        "prompts.1.stop_token_ids.1",
    ),
    ("/v1/generate", {**GENERATE, "prompts": [PROMPT] * 11}, 422, "out_of_range", "prompts"),
]


@pytest.mark.parametrize(("path", "body", "status", "code", "field"), WRONG_BODIES)
async def test_a_wrong_body_is_refused_and_its_field_named(client, engine, path, body, status, code, field):
    asked_before = engine.num_entered
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await client.post(path, content=content)
    error = error_of(response)
    assert (response.status_code, error["code"], error.get("field")) == (status, code, field)
    assert field is None or field in error["message"]
    assert engine.num_entered == asked_before


async def test_the_longest_sequences_that_fit_are_taken(client):
    score = {"sequences": [{"token_ids": LONG[1:], "start": MAX_MODEL_LEN - 1}], "top_k": 1}
    generate = {**GENERATE, "prompts": [{**PROMPT, "max_tokens": MAX_MODEL_LEN - 2}]}
    assert (await client.post("/v1/score", json=score)).status_code == 200
    assert (await client.post("/v1/generate", json=generate)).status_code == 200


async def test_too_many_sequences_are_refused():
    async with running_app(FakeEngine(), max_request_sequences=2) as app, http_client(app) as client:
        body = {"sequences": [{"token_ids": [1], "start": 1}] * 3, "top_k": 0}
        response = await client.post("/v1/score", json=body)
        assert (response.status_code, error_of(response)["field"]) == (422, "sequences")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["sequences", "token_ids", "start", "top_k"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=150)
def test_no_body_makes_the_service_fail(body):
    async def ask() -> int:
        async with running_app(FakeEngine()) as app, http_client(app) as client:
            return (await client.post("/v1/score", content=body)).status_code

    assert asyncio.run(ask()) in (200, 400, 422)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/scores", 404, "not_found"),
        ("POST", "/v1/score/", 404, "not_found"),
        ("GET", "/v1/score", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
    ],
)
async def test_unknown_routes_and_methods_are_answered_in_the_same_form(client, method, path, status, code):
    response = await client.request(method, path)
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert (status != 405) or response.headers["allow"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Basic secret", 401),
        ("Bearer", 401),
        (b"Bearer \xe9\xff", 401),
        ("Bearer secret", 200),
        ("bearer other-secret", 200),
    ],
)
async def test_with_keys_every_v1_route_wants_one_of_them(engine, header, status):
    headers = {} if header is None else {"Authorization": header}
    async with running_app(engine, api_keys=["secret", "other-secret"]) as app, http_client(app) as client:
        for response in (
            await client.post("/v1/score", json=SCORE, headers=headers),
            await client.get("/v1/model", headers=headers),
        ):
            assert response.status_code == status
            assert status != 401 or error_of(response)["code"] == "unauthorized"
        assert (await client.get("/v1/no-such-route")).status_code == 401
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200


async def test_a_body_that_is_declared_too_long_is_not_read():
    async with running_app(FakeEngine(), max_body_bytes=50) as app:

        async def receive() -> dict[str, object]:
            raise AssertionError("read")

        status, _ = await call_asgi(app, "/v1/score", receive, headers=[(b"content-length", b"51")])
        assert status == 413


async def test_a_body_that_becomes_too_long_is_cut_off():
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 20
        raise AssertionError("read to its end")

    async with running_app(FakeEngine(), max_body_bytes=50) as app, http_client(app) as client:
        response = await client.post("/v1/score", content=endless())
        assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")
        assert await metric(client, "adaswitch_teacher_requests_in_flight") == 0


@pytest.mark.parametrize("mark", [b"{", b"[", b":", b","])
async def test_a_body_that_comes_to_no_request_is_cut_off_before_its_end(mark: bytes):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield mark * 1000
        raise AssertionError("read to its end")

    async with running_app(FakeEngine()) as app, http_client(app) as client:
        response = await client.post("/v1/score", content=endless())
        assert (response.status_code, error_of(response)["code"]) == (422, "out_of_range")
        assert f"times {mark.decode()!r}" in error_of(response)["message"]
        assert response.headers["connection"] == "close"


async def test_one_request_too_many_is_told_when_to_come_back():
    engine = FakeEngine()
    async with running_app(engine, max_queued_requests=1) as app, http_client(app) as client:
        engine.hold = asyncio.Event()
        engine.entered.clear()
        first = asyncio.create_task(client.post("/v1/score", json=SCORE))
        await engine.entered.wait()
        refused = await client.post("/v1/generate", json=GENERATE)
        assert (refused.status_code, error_of(refused)["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        engine.hold.set()
        assert (await first).status_code == 200
        assert (await client.post("/v1/generate", json=GENERATE)).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NonFiniteError("nan"), 503, "non_finite"),
        (EngineLostError("dead"), 503, "engine_lost"),
        (EngineFaultError("odd"), 503, "engine_fault"),
        (RequestRefusedError("no"), 422, "refused"),
        (RuntimeError("a bug"), 500, "internal"),
    ],
)
async def test_what_the_engine_raises_becomes_an_error_of_the_contract(client, engine, error, status, code):
    engine.error = error
    response = await client.post("/v1/score", json=SCORE)
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert response.headers["x-request-id"]
    engine.error = None
    assert (await client.post("/v1/score", json=SCORE)).status_code == 200
    assert await metric(client, f'adaswitch_teacher_requests_total{{code="{status}",route="/v1/score"}}') == 1


async def call_asgi(app, path, receive, headers=()) -> tuple[int, bytes]:
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await app(post_scope(path, headers), receive, send)
    return sent[0]["status"], sent[1]["body"]
