"""Errors as one line with an exit code, and a polite end on a signal."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from adaswitch.errors import AdaSwitchError, ConfigError, TeacherUnavailableError
from adaswitch.processes.entry import (
    StopRequest,
    interrupting,
    is_impatient,
    one_line_errors,
    program,
    program_environment,
)


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


def test_other_errors_are_shown_as_a_plain_trace_and_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise ValueError("too wide\nby far")
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert said.endswith("ValueError: too wide\nby far\nerror: ValueError: too wide\n")


@pytest.mark.parametrize("name", ["metrics.jsonl", None])
def test_a_full_disk_is_no_fault_of_the_program(name: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise OSError(errno.ENOSPC, "No space left on device", name)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(
        f"error: {name or 'its output'} cannot be written, because the disk is full"
    )


def test_a_file_that_may_not_be_touched_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise PermissionError(errno.EACCES, "Permission denied", "runs/demo/logs")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said == "error: runs/demo/logs cannot be read or written (permission denied): see to that\n"


def test_a_log_on_the_full_disk_keeps_the_exit_code() -> None:
    code = (
        "from adaswitch.processes.entry import one_line_errors\n"
        "from adaswitch.errors import StorageError\n"
        "with one_line_errors():\n    raise StorageError('full')"
    )
    with open("/dev/full", "w") as full:
        assert subprocess.run([sys.executable, "-c", code], stderr=full, check=False).returncode == 2


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


SPEAKING = """
import os, signal, sys
from adaswitch.processes.entry import StopRequest
stop = StopRequest(patient=sys.argv[1] == "patient", words="stopping: what was trained is saved").install()
os.kill(os.getpid(), int(sys.argv[2]))
print("the first is heard", file=sys.stderr, flush=True)
assert stop() and not stop.is_impatient
for _ in range(2):
    os.kill(os.getpid(), int(sys.argv[2]))
assert stop.is_impatient
"""


@pytest.mark.parametrize(("manner", "code"), [("patient", 0), ("hasty", 130)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_at_once_and_a_second_is_called_impatient(
    manner: str, code: int, number: int
) -> None:
    arguments = [sys.executable, "-c", SPEAKING, manner, str(int(number))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert [line for line in done.stderr.splitlines() if line] == [
        "stopping: what was trained is saved",
        "the first is heard",
        "that is impatient: ending at once; nothing more is saved",
    ]


@pytest.fixture
def installed() -> Iterator[StopRequest]:
    """A patient request that has both signals for as long as the test lasts."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield StopRequest(patient=True).install()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_interrupts_what_never_looks(installed: StopRequest) -> None:
    with pytest.raises(KeyboardInterrupt), interrupting(installed):
        os.kill(os.getpid(), signal.SIGTERM)
    # Outside of the block it does not, and a block that is entered later does not begin.
    os.kill(os.getpid(), signal.SIGTERM)
    assert is_impatient(installed)
    reached = []
    with pytest.raises(KeyboardInterrupt), interrupting(installed):
        reached.append("the block")
    assert reached == []


def test_what_is_no_request_is_never_impatient_and_interrupts_nothing() -> None:
    assert not is_impatient(lambda: True)
    with interrupting(lambda: True):
        pass


def test_the_notes_of_an_error_come_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    error = AdaSwitchError("broken")
    error.add_note("what was trained is saved")
    error.add_note("go on with: adaswitch run")
    with pytest.raises(SystemExit), one_line_errors():
        raise error
    assert capsys.readouterr().err == "what was trained is saved\ngo on with: adaswitch run\nerror: broken\n"


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
