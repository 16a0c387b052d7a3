"""What the teacher service does to protect itself: keys, deadlines, slow bodies, memory; and what it says of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.contract.keys import split_keys
from adaswitch.contract.wire import (
    SAFETENSORS_TYPE,
    SequenceAnswer,
    answers_from_safetensors,
    answers_to_safetensors,
    safetensors_type,
)
from adaswitch.errors import ConfigError
from services.teacher.engines.memory import logprob_bytes
from services.teacher.http.app import create_app
from services.teacher.http.keys import KeyRing
from tests.teacher_fakes import FakeEngine, http_client, running_app, service_config
from tests.unit.services.teacher.http.test_teacher_app import SCORE, error_of, metric


async def held(engine: FakeEngine) -> None:
    """Let ``engine`` answer nothing from now on."""
    engine.hold = asyncio.Event()
    engine.entered.clear()


@pytest.mark.parametrize(
    ("text", "keys"),
    [("", []), ("one", ["one"]), ("one,two", ["one", "two"]), (" a\nb, c ", ["a", "b", "c"])],
)
def test_keys_in_an_environment_variable(text: str, keys: list[str]) -> None:
    assert split_keys(text) == keys


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.text())
def test_exactly_the_keys_are_accepted(keys: list[str], other: str) -> None:
    ring = KeyRing(keys)
    assert all(ring.accepts(key.encode()) for key in keys)
    assert ring.accepts(other.encode()) == (other in keys)


def test_a_file_of_keys_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# students\nold\n\n")
    ring = KeyRing(["fixed"], str(file))
    assert [ring.accepts(key) for key in (b"fixed", b"old", b"new", b"# students", b"")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    file.write_text("new\n")
    assert ring.reload() == 2
    assert [ring.accepts(key) for key in (b"fixed", b"old", b"new")] == [True, False, True]
    for damage in (lambda: file.write_text("# none\n"), file.unlink):
        damage()
        with pytest.raises(ConfigError, match=r"^api_keys_file: "):
            ring.reload()
        assert ring.accepts(b"new")


def test_without_keys_none_is_wanted() -> None:
    assert not KeyRing()
    assert KeyRing(["one"])


async def test_a_request_keeps_its_id_and_is_a_line_in_the_log() -> None:
    lines: list[str] = []
    app = create_app(FakeEngine(), service_config(), KeyRing(["secret"]), lines.append)
    async with app.router.lifespan_context(app), http_client(app) as client:
        await app.state.service.settled.wait()
        headers = {"Authorization": "Bearer secret", "X-Request-Id": "step-7/prompt-3"}
        answered = await client.post("/v1/score", json=SCORE, headers=headers)
        refused = await client.post("/v1/score", json=SCORE, headers={"X-Request-Id": 'forged"}\n{"a": 1'})
        await client.get("/readyz")
    assert answered.headers["x-request-id"] == "step-7/prompt-3"
    assert len(refused.headers["x-request-id"]) == 32
    first, second = (json.loads(line) for line in lines)
    assert (first["request_id"], first["route"], first["code"]) == ("step-7/prompt-3", "/v1/score", 200)
    assert first["bytes"] == len(answered.content)
    assert first["seconds"] > 0
    assert (second["code"], second["route"]) == (401, "/v1/score")
    assert second["request_id"] == refused.headers["x-request-id"]
    assert "secret" not in "".join(lines)


@pytest.mark.parametrize(("header", "setting"), [("0.02", 600.0), (None, 0.02), ("500", 0.02)])
async def test_a_request_that_takes_too_long_is_ended_and_frees_its_place(header, setting) -> None:
    engine = FakeEngine()
    async with running_app(engine, request_timeout_s=setting) as app, http_client(app) as client:
        await held(engine)
        headers = {} if header is None else {"X-Request-Timeout-S": header}
        response = await client.post("/v1/score", json=SCORE, headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (504, "deadline_exceeded")
        assert "within 0.02 s" in error_of(response)["message"]
        assert engine.num_cancelled == 1
        assert await metric(client, "adaswitch_teacher_requests_in_flight") == 0
        assert await metric(client, 'adaswitch_teacher_requests_cancelled_total{reason="deadline"}') == 1
        engine.hold = None
        assert (await client.post("/v1/score", json=SCORE)).status_code == 200


@pytest.mark.parametrize("header", ["soon", "0", "-1", "nan", "inf", ""])
async def test_a_deadline_that_is_no_time_is_refused(header: str) -> None:
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        response = await client.post("/v1/score", json=SCORE, headers={"X-Request-Timeout-S": header})
        assert (response.status_code, error_of(response)["field"]) == (422, "X-Request-Timeout-S")


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b'{"sequences"'
        await asyncio.Event().wait()

    async with running_app(FakeEngine(), body_timeout_s=0.02) as app, http_client(app) as client:
        response = await client.post("/v1/score", content=slow())
        assert (response.status_code, error_of(response)["code"]) == (408, "body_timeout")
        assert response.headers["connection"] == "close"
        assert await metric(client, "adaswitch_teacher_requests_in_flight") == 0


async def test_a_content_length_of_thousands_of_digits_is_too_large() -> None:
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        response = await client.post("/v1/score", content=b"{}", headers={"Content-Length": "9" * 5000})
        assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")


async def test_memory_for_log_probabilities_is_shared_out() -> None:
    num_bytes = logprob_bytes(len(SCORE["sequences"][0]["token_ids"]), SCORE["top_k"])
    engine = FakeEngine()
    enough_for_one = 1.5 * num_bytes / 2**30
    async with running_app(engine, logprob_memory_gib=enough_for_one) as app, http_client(app) as client:
        await held(engine)
        first = asyncio.create_task(client.post("/v1/score", json=SCORE))
        await engine.entered.wait()
        assert await metric(client, "adaswitch_teacher_logprob_bytes_in_flight") == num_bytes
        assert await metric(client, "adaswitch_teacher_logprob_bytes_limit") == int(1.5 * num_bytes)
        second = await client.post("/v1/score", json=SCORE)
        assert (second.status_code, error_of(second)["code"]) == (429, "memory_full")
        assert second.headers["retry-after"]
        never = await client.post("/v1/score", json={**SCORE, "top_k": 9})
        assert (never.status_code, error_of(never)["field"]) == (422, "top_k")
        engine.hold.set()
        assert (await first).status_code == 200
        assert await metric(client, "adaswitch_teacher_logprob_bytes_in_flight") == 0
        assert (await client.post("/v1/score", json=SCORE)).status_code == 200


async def test_half_precision_log_probabilities_for_who_asks() -> None:
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        whole, half = [
            await client.post("/v1/score", json=SCORE, headers={"Accept": accept})
            for accept in (SAFETENSORS_TYPE, safetensors_type("float16"))
        ]
    (exact,), (rounded,) = (answers_from_safetensors(response.content) for response in (whole, half))
    assert len(half.content) < len(whole.content)
    assert rounded.top_logprobs.dtype == np.float32
    np.testing.assert_array_equal(rounded.top_ids, exact.top_ids)
    np.testing.assert_array_equal(
        rounded.top_logprobs, exact.top_logprobs.astype(np.float16).astype(np.float32)
    )


@pytest.mark.parametrize(("dtype", "most"), [("float32", 530), ("float16", 400)])
def test_bytes_a_token_on_the_wire(dtype, most: int) -> None:
    """At k = 64 and a large vocabulary, whose ids need four bytes."""
    n, rng = 256, np.random.default_rng(0)
    answer = SequenceAnswer(
        token_ids=rng.integers(0, 50_000, n).astype(np.int32),
        token_logprobs=rng.normal(size=n).astype(np.float32),
        top_ids=rng.integers(0, 50_000, (n, 64)).astype(np.int32),
        top_logprobs=rng.normal(size=(n, 64)).astype(np.float32),
    )
    assert len(answers_to_safetensors([answer] * 8, dtype)) / (8 * n) <= most
