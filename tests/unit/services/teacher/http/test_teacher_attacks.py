"""Generated attacks on the teacher service: from its own OpenAPI document, and on the raw body.

Nothing may be answered with a 5xx, nothing may hang, and a right request is answered after each.
"""

import asyncio
import json
from collections import Counter

import httpx
import psutil
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from services.teacher.http.app import create_app
from services.teacher.http.keys import KeyRing
from tests.teacher_fakes import FakeEngine, http_client, running_app, service_config
from tests.unit.services.teacher.http.test_teacher_app import SCORE

NUM_CASES = 550
"""Of each route and kind: four times this together."""
DOCUMENT = create_app(FakeEngine(), service_config(), KeyRing()).openapi()
REFUSALS = {400, 401, 404, 405, 408, 413, 422, 429}
attack = settings(
    max_examples=NUM_CASES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Service:
    """The app, kept running on a loop of its own from one example to the next."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._running = running_app(FakeEngine(), body_timeout_s=0.05)
        self.app: FastAPI = self._loop.run_until_complete(self._running.__aenter__())
        self._http = http_client(self.app)
        self.codes: Counter[int] = Counter()

    def attacked(self, method: str, path: str, **request: object) -> httpx.Response:
        """The answer; it is no 5xx, and a right request is answered behind it."""
        response = self._loop.run_until_complete(self._attack(method, path, request))
        self.codes[response.status_code] += 1
        assert response.status_code < 500, response.text
        if not response.is_success:
            assert response.status_code in REFUSALS
            assert set(response.json()["error"]) <= {"code", "message", "field"}
        return response

    async def _attack(self, method: str, path: str, request: dict[str, object]) -> httpx.Response:
        async with asyncio.timeout(5.0):
            response = await self._http.request(method, path, **request)
            after = await self._http.post("/v1/score", json=SCORE)
        assert after.status_code == 200
        return response

    def close(self) -> None:
        self._loop.run_until_complete(self._http.aclose())
        self._loop.run_until_complete(self._running.__aexit__(None, None, None))
        self._loop.close()


@pytest.fixture(scope="module")
def service():
    service = Service()
    yield service
    service.close()


def cases(document: dict[str, object], path: str, mode: GenerationMode) -> st.SearchStrategy[Case]:
    return schemathesis.openapi.from_dict(document)[path]["POST"].as_strategy(generation_mode=mode)


def as_sent(case: Case) -> dict[str, object]:
    """The case's body and headers, as far as a client can send them."""
    body = json.dumps(case.body, default=str).encode("utf-8", "surrogatepass")
    texts = {key: str(value).strip() for key, value in (case.headers or {}).items()}
    headers = {key: text for key, text in texts.items() if text.isascii() and text.isprintable()}
    return {"content": body, "headers": headers}


each_path = pytest.mark.parametrize("path", ["/v1/score", "/v1/generate"])
each_mode = pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "not fitting"]
)


@each_path
@each_mode
def test_bodies_from_the_services_own_document(service: Service, path: str, mode: GenerationMode) -> None:
    before = sum(service.codes.values())

    @attack
    @given(cases(DOCUMENT, path, mode))
    def run(case: Case) -> None:
        service.attacked("POST", path, **as_sent(case))

    run()
    assert sum(service.codes.values()) - before >= 0.9 * NUM_CASES


numbers = st.integers() | st.floats() | st.sampled_from([2**31, 2**63, -1, 10**30, 1e400])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["sequences", "token_ids", "start", "top_k", "prompts", "max_tokens", "seed", "temperature"]
)


def repeated_keys(pairs: list[tuple[str, object]]) -> bytes:
    return ("{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}").encode()


def spoilt(place: int, junk: bytes) -> bytes:
    good = json.dumps(SCORE).encode()
    return good[: place % len(good)] + junk + good[place % len(good) :]


bodies = st.one_of(
    st.binary(max_size=60),
    values.map(lambda value: json.dumps(value).encode()),
    st.lists(st.tuples(fields, values), max_size=6).map(repeated_keys),
    st.builds(spoilt, st.integers(0, 200), st.binary(min_size=1, max_size=4)),
    st.integers(1, 3000).map(lambda depth: b"[" * depth),
    st.integers(1, 3000).map(lambda depth: b'{"sequences":' * depth),
    st.integers(1, 9000).map(lambda digits: b'{"top_k": ' + b"7" * digits + b"}"),
    # What a client might take for a body: the head of a safetensors file with a length beyond its end.
    st.integers(0, 2**63).map(lambda length: length.to_bytes(8, "little") + b'{"a": {"dtype": "F32"}}'),
)
kinds = st.sampled_from(
    ["application/json", "application/x-safetensors", "text/plain", "multipart/form-data", ""]
)


def test_raw_bodies(service: Service) -> None:
    process = psutil.Process()
    sizes: list[int] = []

    @attack
    @given(bodies, st.sampled_from(["/v1/score", "/v1/generate"]), kinds, kinds)
    def run(body: bytes, path: str, sent: str, accepted: str) -> None:
        service.attacked("POST", path, content=body, headers={"Content-Type": sent, "Accept": accepted})
        sizes.append(process.memory_info().rss)

    run()
    tenth = len(sizes) // 10
    assert max(sizes[-tenth:]) < 1.1 * max(sizes[:tenth])


@pytest.mark.parametrize("num_parts", [1, 3])
def test_bodies_that_stop_coming(service: Service, num_parts: int) -> None:
    async def trickle():
        for _ in range(num_parts):
            yield b'{"sequences": '
        await asyncio.Event().wait()

    assert service.attacked("POST", "/v1/score", content=trickle()).status_code == 408


def test_most_kinds_of_answers_were_seen(service: Service) -> None:
    """Or the attacks above went nowhere."""
    if not service.codes:
        pytest.skip("run alone, without the attacks")
    assert {200, 400, 408, 422} <= set(service.codes)
    assert sum(service.codes.values()) > 2000
