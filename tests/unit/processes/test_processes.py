"""Child processes: their own words on failure, and nothing of theirs left behind."""

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from adaswitch.errors import EnvironmentProblem
from adaswitch.processes import managed
from adaswitch.processes.managed import ManagedProcess, require_free_port, wait_for_file


def start(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> ManagedProcess:
    """``code`` as a module of its own, run as a managed process."""
    (folder / "program.py").write_text(textwrap.dedent(code))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
    return ManagedProcess("program", "program", [str(folder)], folder / "program.log")


def wait_for(path: Path, process: ManagedProcess) -> str:
    return wait_for_file(path, process, 20)


SPAWNS_A_STUBBORN_CHILD = """
    import os, signal, subprocess, sys, time
    from pathlib import Path
    folder = Path(sys.argv[1])
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"],
        process_group=0,
    )
    signal.signal(signal.SIGTERM, {on_term})
    (folder / "partial").write_text(str(child.pid))
    os.replace(folder / "partial", folder / "ready")
    time.sleep(600)
"""


@pytest.mark.parametrize("on_term", ["lambda *_: sys.exit(0)", "signal.SIG_IGN"])
def test_stop_ends_the_process_and_everything_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_term: str
) -> None:
    process = start(tmp_path, SPAWNS_A_STUBBORN_CHILD.format(on_term=on_term), monkeypatch)
    child = psutil.Process(int(wait_for(tmp_path / "ready", process)))
    process.stop(grace_s=2.0 if "exit" in on_term else 0.2)
    assert process.exit_code is not None
    child_gone, _ = psutil.wait_procs([child], timeout=10)
    assert child_gone == [child]


COUNTS_SIGNALS = """
    import os, signal, sys, time
    from pathlib import Path
    folder, heard = Path(sys.argv[1]), []
    signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    (folder / "ready").write_text("yes")
    while not heard:
        time.sleep(0.01)
    time.sleep(0.5)
    sys.exit(len(heard))
"""


def test_a_process_that_was_told_to_end_is_not_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(tmp_path, COUNTS_SIGNALS, monkeypatch)
    wait_for(tmp_path / "ready", process)
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    process.stop(grace_s=20)
    assert process.exit_code == 1


SAVES_FOR_LONG = """
    import os, signal, sys, time
    from pathlib import Path
    folder, heard = Path(sys.argv[1]), []
    signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    (folder / "ready").write_text("yes")
    while len(heard) < {patience}:
        time.sleep(0.01)
    (folder / "told").write_text(str(len(heard)))
    sys.exit(130)
"""


@pytest.mark.parametrize(
    ("patience", "last_grace_s", "code"), [(2, 20.0, 130), (3, 0.0, -9)], ids=["ends itself", "is killed"]
)
def test_whoever_is_impatient_does_not_wait_for_what_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, last_grace_s: float, code: int
) -> None:
    process = start(tmp_path, SAVES_FOR_LONG.format(patience=patience), monkeypatch)
    wait_for(tmp_path / "ready", process)
    asked = []

    def is_impatient() -> bool:
        asked.append(process.exit_code)
        return len(asked) > 2

    process.is_impatient, process.last_grace_s = is_impatient, last_grace_s
    began = time.monotonic()
    process.stop(grace_s=600)
    assert time.monotonic() - began < 20
    assert process.exit_code == code
    assert (tmp_path / "told").is_file() == (code == 130)


def test_stop_twice_is_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start(tmp_path, "print('bye')", monkeypatch)
    process.stop(grace_s=20)
    process.stop(grace_s=20)
    assert process.exit_code is not None


def test_a_process_that_ends_early_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; print('noise'); print('error: the model is not there'); print('after'); sys.exit(2)"
    process = start(tmp_path, code, monkeypatch)
    with pytest.raises(EnvironmentProblem, match=r"program ended: the model is not there \(log: "):
        wait_for(tmp_path / "never", process)
    assert process.exit_code == 2


def test_without_an_error_line_the_last_line_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(tmp_path, "print('one'); print('two'); print()", monkeypatch)
    with pytest.raises(EnvironmentProblem, match="two"):
        wait_for(tmp_path / "never", process)


TRACE = """
    def fail():
        raise ValueError("too wide\\nby far\\n\\nthe end")
    try:
        print("step 1")
        fail()
    finally:
        import atexit; atexit.register(print, "bye")
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (TRACE, "ValueError: too wide (log: "),
        ("assert False", "AssertionError (log: "),
        (
            "print('╭─ Error ─╮'); print('│ no such option │'); print('╰─────────╯'); raise SystemExit(2)",
            "no such",
        ),
        (
            "import os, signal; print('hm', flush=True); os.kill(os.getpid(), 9)",
            "killed by signal 9 (SIGKILL)",
        ),
        (
            "import os; print('hm', flush=True); os.kill(os.getpid(), 11)",
            "killed by signal 11 (SIGSEGV): it crashed",
        ),
        (
            "print('error: no room', flush=True); import os; os.kill(os.getpid(), 9)",
            "killed by signal 9 (SIGKILL): out of memory? (before, it said: no room) (log: ",
        ),
        ("print()", "no output (log: "),
    ],
)
def test_the_last_words_are_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    process = start(tmp_path, code, monkeypatch)
    process.wait(20)
    assert process.last_error().startswith(words)


def test_memory_that_ran_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([4, 5])
    monkeypatch.setattr(managed, "num_memory_kills", lambda: next(counts))
    process = start(tmp_path, "import os; os.kill(os.getpid(), 9)", monkeypatch)
    process.wait(20)
    assert "the memory ran out, so the kernel ended it" in process.last_error()


def test_a_process_that_could_not_say_why_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed, "is_full", lambda path: True)
    process = start(tmp_path, "raise SystemExit(2)", monkeypatch)
    process.wait(20)
    assert process.last_error().startswith(f"{process.log} cannot be written, because the disk is full")


WARNS = """
    import sys, time
    from pathlib import Path
    folder = Path(sys.argv[1])
    print("warning: one\\nnoise\\nwarning: tw", end="", flush=True)
    (folder / "half").write_text("yes")
    while not (folder / "go").exists():
        time.sleep(0.01)
    print("o\\nwarning: three", flush=True)
"""


def test_warnings_are_passed_on_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "program.log").write_text("warning: of an earlier attempt\n")
    process = start(tmp_path, WARNS, monkeypatch)
    wait_for(tmp_path / "half", process)
    assert process.new_warnings() == ["one"]
    assert process.new_warnings() == []
    (tmp_path / "go").touch()
    process.wait(20)
    assert process.new_warnings() == ["two", "three"]


def test_what_is_not_ready_in_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start(tmp_path, "import time; time.sleep(600)", monkeypatch)
    began = time.monotonic()
    with pytest.raises(EnvironmentProblem, match=r"program is not ready after 0\.3 s"):
        wait_for_file(tmp_path / "never", process, 0.3)
    assert time.monotonic() - began < 5
    process.stop(grace_s=5)


def test_a_taken_port_is_named_with_the_setting_and_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            EnvironmentProblem, match=rf"teacher.serve.port: port {port} is taken; .*={port + 1}"
        ):
            require_free_port(port, "teacher.serve.port")
    require_free_port(port, "teacher.serve.port")
