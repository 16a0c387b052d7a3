"""The teacher service on real vLLM whose engine is killed: it says so at once, to all that ask or wait."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.test_teacher_vllm import engine_of, long_work
from tests.teacher_process import TeacherProcess, wait_until_gone
from tests.waiting import wait_until

# Behind the tests that use the service too: it is killed here.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs_vllm,
    pytest.mark.timeout(240),
]

SHORT_WORK = {"sequences": [{"token_ids": [1], "start": 1}], "top_k": 4}


def is_ready(process: TeacherProcess) -> bool:
    """Also a service that has ended is not."""
    try:
        return process.http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_killed_engine_shows_at_once_and_every_waiting_request_is_told(demo_teacher):
    doomed = demo_teacher
    bodies = [("/v1/generate", long_work(3, max_tokens=100, top_k=8)), ("/v1/score", SHORT_WORK)]
    engine = engine_of(doomed)
    engine.suspend()  # so that none of them is answered before
    with ThreadPoolExecutor(6) as pool:
        waiting = [
            pool.submit(httpx.post, doomed.url + path, json=body, timeout=60.0) for path, body in bodies * 3
        ]
        wait_until(
            lambda: doomed.metric("adaswitch_teacher_requests_in_flight") == len(waiting),
            "all requests in the house",
            timeout_s=30.0,
        )
        assert is_ready(doomed)
        engine.kill()
        killed_s = time.monotonic()
        wait_until(lambda: not is_ready(doomed), "a service that is not ready", timeout_s=2.0)
        for response in (future.result() for future in waiting):
            assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_lost")
            assert response.headers["retry-after"]
    assert doomed.process.wait(30) == 1
    assert time.monotonic() - killed_s < 10.0
    assert "error: the engine has died" in doomed.log.read_text()
    assert wait_until_gone(doomed.process.pid) == []
