"""A teacher elsewhere is asked which tokens end its texts, and a run goes on if it does not answer yet."""

import httpx
import pytest

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.teachers.ends import teacher_stop_token_ids
from tests.teacher_fakes import fake_info


def config(**settings: object) -> RunConfig:
    document = {
        "name": "run",
        "task": {"kind": "chain"},
        "teacher": {"url": "http://one:8000", "replicas": ["http://two:8000"]},
        "student": {"model": "models/chain-student"},
    }
    return parse_config(with_overrides(document, list(settings.items())))


def answering(**answers: httpx.Response) -> httpx.MockTransport:
    """Answers by the host's name; any other host cannot be reached."""

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/model"
        if request.url.host not in answers:
            raise httpx.ConnectError("nobody")
        return answers[request.url.host]

    return httpx.MockTransport(handle)


def test_the_first_replica_that_answers_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    info = httpx.Response(200, content=fake_info(stop_token_ids=[3, 9]).model_dump_json())
    assert teacher_stop_token_ids(config(), answering(one=info)) == ([3, 9], None)
    assert teacher_stop_token_ids(config(), answering(two=info)) == ([3, 9], None)


@pytest.mark.parametrize("answer", [None, httpx.Response(503), httpx.Response(200, content="{}")])
def test_a_teacher_that_does_not_say_it_is_noted(answer: httpx.Response | None) -> None:
    answers = {} if answer is None else {"one": answer, "two": answer}
    ends, note = teacher_stop_token_ids(config(), answering(**answers))
    assert ends == []
    assert note is not None
    assert note.startswith("the teacher at http://one:8000 does not say yet which tokens end its texts: if ")


@pytest.mark.parametrize(
    "settings",
    [
        {"student.stop_token_ids": [2]},
        {"teacher.serve": {"model": "models/chain-teacher"}},
        {"teacher.api": "openai", "teacher.replicas": []},
        {"policy": {"kind": "replay", "run": "runs/old"}},
    ],
)
def test_nobody_is_asked_where_there_is_nothing_to_ask(settings: dict[str, object]) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked {request.url}")

    assert teacher_stop_token_ids(config(**settings), httpx.MockTransport(refuse)) == ([], None)
