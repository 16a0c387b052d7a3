"""A teacher elsewhere is tried once: a wrong one is refused at once, one that is not there yet is announced."""

import httpx
import pytest

from adaswitch.config.teacher import TeacherConfig
from adaswitch.errors import AdaSwitchError, ConfigError, TeacherProtocolError, TeacherRejectedError
from adaswitch.teachers.first_look import Seen, look_at_teacher

INFO = {"model": "models/big", "tokenizer_sha256": "ab", "max_model_len": 128}
URL = "http://one:1"


def look(handle, **settings: object) -> tuple[Seen | None, list[str]]:
    said: list[str] = []
    config = TeacherConfig(url=URL, **settings)
    return look_at_teacher(config, said.append, httpx.MockTransport(handle)), said


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("[Errno 111] Connection refused", request=request)


def not_ready(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503, json={"error": {"code": "not_ready", "message": "the model is being loaded"}})


def test_a_teacher_that_answers_says_what_it_serves(monkeypatch) -> None:
    monkeypatch.setenv("ADASWITCH_API_KEY", "secret, other")
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=INFO)

    assert look(handle) == (Seen(URL, "models/big", "ab", 128), [])
    assert [(str(request.url), request.headers["authorization"]) for request in asked] == [
        ("http://one:1/v1/model", "Bearer secret")
    ]


@pytest.mark.parametrize(
    ("handle", "reason"),
    [
        (refuse, "[Errno 111] Connection refused"),
        (not_ready, "503 the model is being loaded"),
        (lambda _: httpx.Response(502, text="proxy"), "502 Bad Gateway"),
    ],
)
def test_a_teacher_that_is_not_there_yet_is_announced(handle, reason) -> None:
    seen, said = look(handle, max_wait_s=20)
    assert seen is None
    assert said == [
        f"teacher: none is ready yet (http://one:1: {reason}); the students wait for it, up to 20 s. "
        "If none is being started there, stop, and set teacher.url"
    ]


def test_the_first_replica_that_answers_counts() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return refuse(request) if request.url.host == "one" else httpx.Response(200, json=INFO)

    seen, said = look(handle, replicas=["http://two:2/"])
    assert (seen.url if seen else None, said) == ("http://two:2/", [])


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (httpx.Response(401), TeacherRejectedError, "teacher.api_key_env: .*/v1/model refuses the key"),
        (httpx.Response(404), TeacherProtocolError, "answers 404: it is no teacher service"),
        (httpx.Response(200, text="<html>"), TeacherProtocolError, "is not a teacher's .*; see teacher.api"),
        (httpx.Response(200, json=[]), TeacherProtocolError, "is not a teacher's"),
        (httpx.Response(200, json={"model": "x"}), TeacherProtocolError, "is not a teacher's"),
    ],
)
def test_what_no_waiting_changes_is_refused_at_once(response, kind, words) -> None:
    with pytest.raises(AdaSwitchError, match=words) as caught:
        look(lambda _: response)
    assert isinstance(caught.value, kind)


def test_a_wrong_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"teacher\.url: 'one:1' is no address"):
        look_at_teacher(TeacherConfig(url="one:1"), print)


def test_a_vllm_server_has_no_fingerprint() -> None:
    listed = {"data": [{"id": "first"}, {"id": "second", "max_model_len": 64}]}

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/models"
        return httpx.Response(200, json=listed)

    assert look(handle, api="openai")[0] == Seen(URL, "first", None, None)
    assert look(handle, api="openai", model="second")[0] == Seen(URL, "second", None, 64)
    with pytest.raises(TeacherProtocolError, match="is not a teacher's"):
        look(lambda _: httpx.Response(200, json={"data": []}), api="openai")
