"""A student whose engine dies is replaced, and its prompts go to others. Ray is played."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from adaswitch.config.parsing import parse_config
from adaswitch.errors import AdaSwitchError, ModelError, StudentLostError
from services.student import service
from services.student.service import MAX_REPLACEMENTS, StudentService


class PlayedRay:
    """Calls return what they were given, as ``get`` raises what is an error. ``ends`` are those of the actors' runs."""

    def __init__(self, ends: list[Any]) -> None:
        self.ends = ends
        self.killed: list[Any] = []
        self.released: list[str] = []
        self.failures: list[str] = []

    def start_actor(self, *arguments: Any) -> Any:
        end = self.ends.pop(0)
        return SimpleNamespace(run=SimpleNamespace(remote=lambda: Call(end)))

    def wait(self, calls: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return calls[:1], calls[1:]

    def get(self, call: Any, timeout: float | None = None) -> Any:
        result = call.result if isinstance(call, Call) else call
        if isinstance(result, Exception):
            raise RayTaskError.from_bytes(
                RayTaskError("run", "a trace", result).to_bytes()
            ).as_instanceof_cause()
        return result

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)

    def release(self, name: str) -> int:
        self.released.append(name)
        return 3

    @property
    def queue(self) -> Any:
        release = SimpleNamespace(
            remote=self.release, options=lambda **_: SimpleNamespace(remote=self.release)
        )
        return SimpleNamespace(release=release, fail=SimpleNamespace(remote=self.failures.append))


class Call:
    """A call under way; no two are equal."""

    def __init__(self, result: Any) -> None:
        self.result = result


def served(monkeypatch: pytest.MonkeyPatch, ends: list[Any]) -> tuple[PlayedRay, StudentService]:
    played = PlayedRay(ends)
    monkeypatch.setattr(service, "ray", played)
    monkeypatch.setattr(service, "start_actor", played.start_actor)
    monkeypatch.setattr(service, "num_nodes", lambda: 1)
    config = parse_config(
        {"name": "run", "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/any"}}
    )
    return played, StudentService(config, played.queue, None, lambda: False)


LOST = StudentLostError("the student's engine has died: RuntimeError: no kernel")


def test_a_student_whose_engine_dies_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played, students = served(monkeypatch, [LOST, "the run is over"])
    assert students.run() == "the run is over"
    assert (len(played.released), len(played.killed), played.failures) == (2, 2, [])
    (line,) = capsys.readouterr().out.splitlines()
    assert "died (the student's engine has died: RuntimeError: no kernel); 3 prompts go to others" in line


def test_engines_that_keep_dying_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    played, students = served(monkeypatch, [LOST] * (1 + MAX_REPLACEMENTS))
    with pytest.raises(AdaSwitchError, match=f"students died {MAX_REPLACEMENTS} times, .*no kernel"):
        students.run()
    assert len(played.failures) == 1


def test_any_other_error_ends_the_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    played, students = served(monkeypatch, [ModelError("student.engine: vllm cannot run it")])
    with pytest.raises(ModelError, match="cannot run it"):
        students.run()
    assert played.failures == ["a student failed: student.engine: vllm cannot run it"]
