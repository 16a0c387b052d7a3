"""A program whose launcher or whose terminal is lost."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

LAUNCHED = """
import os, sys, time
from pathlib import Path
from adaswitch.processes.entry import StopRequest, one_line_errors
folder = Path(sys.argv[1])
with one_line_errors():
    stop = StopRequest().install()
    (folder / "pid").write_text(str(os.getpid()))
    while not stop():
        time.sleep(0.01)
    (folder / "saved").write_text("as asked" if "ADASWITCH_LAUNCHER" not in os.environ else "not for grandchildren")
"""
LAUNCHER = """
import os, signal, sys, time
from pathlib import Path
from adaswitch.processes.managed import ManagedProcess
folder = Path(sys.argv[1])
process = ManagedProcess("program", "launched", [str(folder)], folder / "log")
while not (folder / "pid").is_file() or not (folder / "pid").read_text():
    assert process.exit_code is None, (folder / "log").read_text()
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_program_whose_launcher_was_killed_ends_as_if_it_had_been_asked(tmp_path: Path) -> None:
    (tmp_path / "launched.py").write_text(LAUNCHED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    killed = subprocess.run([sys.executable, "-c", LAUNCHER, str(tmp_path)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    if psutil.pid_exists(pid):
        psutil.wait_procs([psutil.Process(pid)], timeout=20)
    assert (tmp_path / "saved").read_text() == "as asked", (tmp_path / "log").read_text()


HUNG_UP = """
import os, signal, sys
from adaswitch.processes.entry import StopRequest
stop = StopRequest(patient=True, words="stopping").install()
os.write(3, b"ready")
while not stop():
    signal.pause()
print("this goes nowhere", flush=True)
os.write(3, b" saved")
"""


def test_a_closed_terminal_is_a_request_to_stop_and_printing_to_it_no_error() -> None:
    reading, writing = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.dup2(writing, 3)
        os.set_inheritable(3, True)
        os.execv(sys.executable, [sys.executable, "-c", HUNG_UP])
    os.close(writing)
    try:
        assert os.read(reading, 5) == b"ready"
        os.close(terminal)
        assert os.read(reading, 6) == b" saved"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(reading)


IGNORING = """
import signal
from adaswitch.processes.entry import StopRequest
signal.signal(signal.SIGHUP, signal.SIG_IGN)
stop = StopRequest().install()
signal.raise_signal(signal.SIGHUP)
assert not stop()
"""


@pytest.mark.parametrize("program", [IGNORING])
def test_whom_nohup_protects_goes_on(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)
