"""Child processes: each has its own session and writes to its own log file, and is ended whatever happens."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from adaswitch.errors import EnvironmentProblem
from adaswitch.processes.entry import program, program_environment

_ERROR_LINE = re.compile(r"^error: (.*)$", re.MULTILINE)


class ManagedProcess:
    """``python -m module arguments``, under a name for people.

    The process has a session of its own. So Ctrl-C in the terminal does not reach it before its turn, and all
    processes that it started can be ended with it.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._told_to_end = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                program(module, arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**program_environment(), **(environment or {}), "PYTHONUNBUFFERED": "1"},
            )

    @property
    def pid(self) -> int:
        """The id of the process, which is also the id of its session."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while the process runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        """Wait for the end of the process, and return its exit code. Raises ``subprocess.TimeoutExpired``."""
        return self._process.wait(timeout_s)

    def last_error(self) -> str:
        """The last ``error: ...`` line of the log, or else its last line, with the place to read more."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        errors = _ERROR_LINE.findall(text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        message = errors[-1] if errors else (lines[-1] if lines else "no output")
        return f"{message} (log: {self.log})"

    def terminate(self) -> None:
        """Send SIGTERM without waiting. It is sent only once, because a second SIGTERM would end the saving early."""
        if self.exit_code is None and not self._told_to_end:
            self._told_to_end = True
            self._process.terminate()

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and after ``grace_s`` SIGKILL to all processes that are left of its session."""
        if self.exit_code is None:
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        for pid in _session_members(self.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


def _session_members(session: int) -> list[int]:
    """All processes of a session, including those with their own process group, such as Ray's workers."""
    members = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session:
                members.append(pid)
        except (ProcessLookupError, PermissionError):
            continue
    return members


def require_free_port(port: int, setting: str, host: str = "127.0.0.1") -> None:
    """Raises ``EnvironmentProblem`` if a process listens on ``port`` already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise EnvironmentProblem(
                f"{setting}: port {port} is taken; set another, as in {setting}={port + 1}"
            ) from None


def wait_for_file(
    path: Path, process: ManagedProcess, timeout_s: float, should_stop: Callable[[], bool] = lambda: False
) -> str:
    """Wait for a file that ``process`` writes when it is ready. Returns its content; ``should_stop`` interrupts."""
    deadline_s = time.monotonic() + timeout_s
    while not path.is_file():
        if should_stop():
            raise KeyboardInterrupt
        if process.exit_code is not None:
            raise EnvironmentProblem(f"{process.name} ended: {process.last_error()}")
        if time.monotonic() > deadline_s:
            raise EnvironmentProblem(
                f"{process.name} is not ready after {timeout_s:g} s (log: {process.log})"
            )
        time.sleep(0.05)
    return path.read_text(encoding="utf-8")
