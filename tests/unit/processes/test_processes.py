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
