"""Attacks on the teacher service as a process: generated and very large bodies, and clients that dawdle.

Nothing may be answered with a 5xx or late, memory may not grow, and others are answered meanwhile.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import psutil
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from adaswitch.contract.wire import TIMEOUT_HEADER
from adaswitch.runs.config_files import read_yaml
from tests.teacher_models import make_model
from tests.teacher_process import ROOT, TeacherProcess
from tests.unit.services.teacher.http.test_teacher_app import SCORE
from tests.unit.services.teacher.http.test_teacher_attacks import (
    REFUSALS,
    as_sent,
    attack,
    bodies,
    cases,
    each_mode,
    each_path,
    kinds,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

NUM_CASES = 150
"""Of each route and kind."""
NUM_RAW_CASES = 300
"""Of which the first third warms the service up."""
ANSWER_TIMEOUT_S = 2.0
HEADER_TIMEOUT_S, BODY_TIMEOUT_S, SEND_TIMEOUT_S = 1.0, 1.0, 3.0
VOCAB_SIZE = 60
IN_FLIGHT = "adaswitch_teacher_requests_in_flight"
MEMORY = "adaswitch_teacher_logprob_bytes_in_flight"
MIB = 2**20
LARGE_BYTES = 8 * MIB


class Attacked:
    """A service under attack."""

    def __init__(self, process: TeacherProcess) -> None:
        self.process = process
        self.document = process.http.get("/openapi.json").json()
        self._of_system = psutil.Process(process.process.pid)

    @property
    def num_bytes(self) -> int:
        """Of the process's resident memory."""
        return self._of_system.memory_info().rss

    def post(self, path: str, **request: object) -> httpx.Response:
        """The answer to an attack: soon, short where it refuses, and a right request is answered behind it."""
        begun_s = time.monotonic()
        response = self.process.http.post(path, **request)
        seconds = time.monotonic() - begun_s
        assert seconds < ANSWER_TIMEOUT_S, f"{response.status_code} after {seconds:.1f} s"
        if not response.is_success:
            asked_for_less = TIMEOUT_HEADER in (request.get("headers") or {})
            assert response.status_code in REFUSALS | ({504} if asked_for_less else set()), response.text
            assert set(response.json()["error"]) <= {"code", "message", "field"}
            assert len(response.content) < 10_000
        self.assert_serves()
        return response

    def assert_serves(self) -> None:
        begun_s = time.monotonic()
        assert self.process.http.post("/v1/score", json=SCORE).status_code == 200
        assert time.monotonic() - begun_s < ANSWER_TIMEOUT_S

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.process.port), timeout=10.0)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    root = tmp_path_factory.mktemp("attacked")
    document = read_yaml(ROOT / "configs/demo.yaml")
    document["teacher"]["serve"] = {
        "model": "elsewhere",
        "engine": "transformers",
        "header_timeout_s": HEADER_TIMEOUT_S,
        "body_timeout_s": BODY_TIMEOUT_S,
        "send_timeout_s": SEND_TIMEOUT_S,
        "access_log": False,
    }
    config = root / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    model = make_model(root / "model", VOCAB_SIZE)
    process = TeacherProcess(root / "log", model, "--config", str(config))
    try:
        yield Attacked(process.wait_until_ready())
    finally:
        process.end()


@each_path
@each_mode
def test_bodies_from_the_services_own_document(service: Attacked, path: str, mode: GenerationMode) -> None:
    @settings(attack, max_examples=NUM_CASES)
    @given(cases(service.document, path, mode))
    def run(case: Case) -> None:
        service.post(path, **as_sent(case))

    run()


def test_raw_bodies_leave_memory_as_it_was(service: Attacked) -> None:
    sizes: list[int] = []

    @settings(attack, max_examples=NUM_RAW_CASES)
    @given(bodies, st.sampled_from(["/v1/score", "/v1/generate"]), kinds, kinds)
    def run(body: bytes, path: str, sent: str, accepted: str) -> None:
        service.post(path, content=body, headers={"Content-Type": sent, "Accept": accepted})
        sizes.append(service.num_bytes)

    run()
    third = len(sizes) // 3
    assert third > NUM_RAW_CASES // 4
    assert max(sizes[-third:]) < 1.05 * max(sizes[:third])


def filled(before: str, part: str, after: str) -> bytes:
    """``LARGE_BYTES`` of ``part``, with commas between."""
    number = LARGE_BYTES // (len(part) + 1)
    return before.encode() + (part.encode() + b",") * (number - 1) + part.encode() + after.encode()


def many_keys() -> str:
    return ",".join(f'"{i}":0' for i in range(LARGE_BYTES // 10))


def large_bodies(items: str) -> dict[str, bytes]:
    """By what they are made of; ``items`` is the name of the list that a route wants."""
    whole = f'{{"top_k": 1, "{items}": ['
    tokens = whole + '{"start": 1, "max_tokens": 1, "seed": 0, "token_ids": ['
    keys = many_keys()
    return {
        "empty objects": filled(whole, "{}", "]}"),
        "empty lists": filled(whole, "[]", "]}"),
        "sequences": filled(whole, '{"token_ids":[1],"start":1}', "]}"),
        "strings": filled(tokens, '""', "]}]}"),
        "negative numbers": filled(tokens, "-1", "]}]}"),
        "tokens": filled(tokens, "1", "]}]}"),
        "lists of lists": filled(tokens, "[[]]", "]}]}"),
        "keys of the body": f'{{"top_k": 1, {keys}}}'.encode(),
        "keys of an item": f'{whole}{{"start": 1, {keys}}}]}}'.encode(),
        "the same key": filled("{", f'"{items}":[]', "}"),
        "one key": b'{"' + b"k" * LARGE_BYTES + b'": 1}',
        "one text": f'{{"top_k": "{"t" * LARGE_BYTES}"}}'.encode(),
        "one number": b'{"top_k": ' + b"7" * LARGE_BYTES + b"}",
        "escapes": b'{"' + b"\\u0000" * (LARGE_BYTES // 6) + b'": 1}',
        "blanks": b" " * LARGE_BYTES,
        "open lists": b"[" * LARGE_BYTES,
        "closed lists": b"[" * (LARGE_BYTES // 2) + b"]" * (LARGE_BYTES // 2),
        "open objects": f'{{"{items}":'.encode() * (LARGE_BYTES // 13),
        "no text": b"\xff" * LARGE_BYTES,
    }


@dataclass
class Seen:
    """What was seen of a service meanwhile: its largest resident memory, and its slowest sign of life."""

    num_bytes: int = 0
    slowest_s: float = 0.0


@contextlib.contextmanager
def watched(service: Attacked) -> Iterator[Seen]:
    """Within, memory and ``/healthz`` are looked at all the time."""
    seen = Seen(service.num_bytes)
    done = threading.Event()

    def look_at_memory() -> None:
        while not done.wait(0.005):
            seen.num_bytes = max(seen.num_bytes, service.num_bytes)

    def ask() -> None:
        with httpx.Client(base_url=service.process.url, timeout=60.0) as client:
            while not done.wait(0.02):
                begun_s = time.monotonic()
                assert client.get("/healthz").status_code == 200
                seen.slowest_s = max(seen.slowest_s, time.monotonic() - begun_s)

    threads = [threading.Thread(target=look_at_memory), threading.Thread(target=ask)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(("path", "items"), [("/v1/score", "sequences"), ("/v1/generate", "prompts")])
def test_large_bodies_are_refused_soon_and_with_little_memory(
    service: Attacked, path: str, items: str
) -> None:
    before = service.num_bytes
    failures: list[str] = []
    with watched(service) as seen:
        for name, body in large_bodies(items).items():
            try:
                response = service.post(path, content=body)
            except AssertionError as error:
                failures.append(f"{name}: {error}")
            else:
                if not 400 <= response.status_code < 500:
                    failures.append(f"{name}: {response.status_code}")
    assert failures == []
    assert seen.slowest_s < 1.0
    assert seen.num_bytes - before < 200 * MIB


def test_a_large_body_that_is_right_is_answered(service: Attacked) -> None:
    body = b" " * (4 * MIB) + json.dumps(SCORE).encode()
    head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    for _ in range(5):
        with service.connect() as connection:
            connection.sendall(head + body)
            assert read_to_the_end(connection).startswith(b"HTTP/1.1 200")


STARTS = {
    "silence": b"",
    "half a method": b"PO",
    "half a request line": b"POST /v1/score HT",
    "half a header": b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Le",
    "headers without an end": b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n",
    "half a body": b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{",
    "half a chunk": b"POST /v1/score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{",
}


def read_to_the_end(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_requests_that_never_go_on_are_ended(service: Attacked) -> None:
    with contextlib.ExitStack() as stack:
        connections = {name: stack.enter_context(service.connect()) for name in STARTS}
        begun_s = time.monotonic()
        for name, connection in connections.items():
            connection.sendall(STARTS[name])
        service.assert_serves()
        answers = {name: read_to_the_end(connection) for name, connection in connections.items()}
        assert time.monotonic() - begun_s < max(HEADER_TIMEOUT_S, BODY_TIMEOUT_S) + ANSWER_TIMEOUT_S
    for name, answer in answers.items():
        assert not answer or answer.startswith(b"HTTP/1.1 4"), name
    assert service.process.metric(IN_FLIGHT) == 0


def test_headers_that_trickle_are_ended(service: Attacked) -> None:
    """A byte now and then is no progress: the time is for all of the headers."""
    begun_s = time.monotonic()
    with service.connect() as connection:
        connection.settimeout(0.1)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        answer = None
        while answer is None:
            assert time.monotonic() - begun_s < HEADER_TIMEOUT_S + ANSWER_TIMEOUT_S
            try:
                connection.sendall(b"a")
                answer = connection.recv(1000)
            except TimeoutError:
                continue
            except OSError:
                answer = b""
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    service.assert_serves()


def large_answer(vocab_size: int) -> bytes:
    """A request for some ten megabytes: more than the buffers of a connection hold."""
    sequence = f'{{"token_ids": {[1] * 255}, "start": 1}}'
    body = f'{{"top_k": {vocab_size}, "sequences": [{", ".join([sequence] * 24)}]}}'.encode()
    return b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def unread(service: Attacked) -> socket.socket:
    """A connection whose client takes little of what comes."""
    connection = socket.socket()
    # Before it is connected: the window is agreed on then.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30.0)
    connection.connect(("127.0.0.1", service.process.port))
    connection.sendall(large_answer(VOCAB_SIZE))
    return connection


def test_answers_that_nobody_reads_hold_up_nobody_and_end(service: Attacked) -> None:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(unread(service)) for _ in range(3)]
        for connection in connections:
            assert connection.recv(15).startswith(b"HTTP/1.1 200")
        # The last of them is on its way, and nobody takes it: it counts as under way.
        assert service.process.metric(IN_FLIGHT) >= 1
        assert service.process.metric(MEMORY) > 0
        for _ in range(5):
            service.assert_serves()
        wait_until(
            lambda: service.process.metric(IN_FLIGHT) == service.process.metric(MEMORY) == 0,
            "the end of answers that are not taken",
            timeout_s=SEND_TIMEOUT_S + 5.0,
        )
        # Cut off, and not kept to be sent some day.
        assert all(len(read_to_the_end(connection)) < 8 * MIB for connection in connections)
    service.assert_serves()


def test_a_client_that_goes_with_its_answer_half_read_leaves_nothing(service: Attacked) -> None:
    for _ in range(3):
        with unread(service) as connection:
            assert connection.recv(15).startswith(b"HTTP/1.1 200")
    wait_until(lambda: service.process.metric(IN_FLIGHT) == 0, "their end", timeout_s=SEND_TIMEOUT_S - 1.0)
    service.assert_serves()
    assert "Traceback" not in service.process.log.read_text()
