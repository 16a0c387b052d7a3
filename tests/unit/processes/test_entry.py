"""Errors as one line with an exit code, and a polite end on a signal."""

import os
import signal
import subprocess
import sys

import pytest

from adaswitch.errors import AdaSwitchError, ConfigError, TeacherUnavailableError
from adaswitch.processes.entry import StopRequest, one_line_errors, program, program_environment


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("a: b"), 2), (TeacherUnavailableError("nobody"), 2), (AdaSwitchError("broken"), 1)],
)
def test_an_error_of_ours_is_one_line(
    error: AdaSwitchError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert ended.value.code == code
    assert capsys.readouterr().err == f"error: {error}\n"


def test_of_an_error_that_crossed_ray_the_cause_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    class FromRay(ConfigError):
        cause = ConfigError("a: b")

    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise FromRay("ray::RolloutQueue.take()\n  File ...")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: a: b\n"


def test_with_the_variable_set_the_trace_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADASWITCH_TRACEBACK", "1")
    with pytest.raises(ConfigError), one_line_errors():
        raise ConfigError("a: b")


def test_ctrl_c_has_the_shells_exit_code() -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise KeyboardInterrupt
    assert ended.value.code == 130


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError


PROGRAM = """
import os, signal, sys
from adaswitch.processes.entry import StopRequest
stop = StopRequest(patient=sys.argv[1] == "patient").install()
for expected in (False, True):
    assert stop() is expected
    os.kill(os.getpid(), signal.SIGINT)
sys.exit(7)
"""


@pytest.mark.parametrize(("manner", "code"), [("patient", 7), ("hasty", 130)])
def test_a_second_signal_ends_all_but_the_patient(manner: str, code: int) -> None:
    assert subprocess.run([sys.executable, "-c", PROGRAM, manner], check=False).returncode == code


NESTED = """
import os, signal, sys
from adaswitch.processes.entry import StopRequest
stop = StopRequest(patient=True).install()
nested = []
def interrupt(frame, event, argument):
    if event == "line" and not nested:
        nested.append(frame.f_lineno)
        os.kill(os.getpid(), signal.SIGTERM)
        nested.pop()
    return interrupt
sys.settrace(interrupt)
os.kill(os.getpid(), signal.SIGTERM)
sys.settrace(None)
sys.exit(7 if stop() else 1)
"""


def test_a_signal_at_any_line_of_the_handler_of_another_does_not_lock_up() -> None:
    assert subprocess.run([sys.executable, "-c", NESTED], check=False, timeout=20).returncode == 7


def test_a_stop_can_be_asked_for_without_a_signal() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop = StopRequest()
    try:
        stop.install()
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    other = StopRequest()
    other.request()
    assert other()


def test_a_users_files_do_not_take_the_place_of_the_projects_or_pythons_own(tmp_path) -> None:
    """Names that anybody may give a file of theirs; and a module of their own is still found."""
    for name in ("trainer", "services", "experiments", "json", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user')\n")
    (tmp_path / "my_rules.py").write_text("")
    for module in ("trainer", "services.student", "experiments"):
        command = [*program(module, ["--help"])]
        done = subprocess.run(
            command, cwd=tmp_path, env=program_environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "Example" in done.stdout
    look = (
        "from adaswitch.processes.entry import find_own_code; find_own_code(); import json, trainer, my_rules"
    )
    done = subprocess.run([sys.executable, "-P", "-c", look], cwd=tmp_path, env=program_environment())
    assert done.returncode == 0
