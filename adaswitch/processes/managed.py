"""Child processes: each has its own session and writes to its own log file, and is ended whatever happens."""

import contextlib
import errno
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
from adaswitch.last_words import exceptions_in, killed, last_line, num_memory_kills
from adaswitch.processes.attached import LAUNCHER
from adaswitch.processes.entry import program, program_environment
from adaswitch.storage import complaint, is_full

POLL_S = 0.1
MAX_KILL_ROUNDS = 20
KILL_ROUND_S = 0.02
_ERROR_LINE = re.compile(r"^error: (.*)$", re.MULTILINE)
_WARNING_LINE = re.compile(r"^warning: (.*)$", re.MULTILINE)


class ManagedProcess:
    """``python -m module arguments``, under a name for people.

    The process has a session of its own. So Ctrl-C in the terminal does not reach it before its turn, and all
    processes that it started can be ended with it. If this process is killed, the child ends itself.
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
        self.is_impatient: Callable[[], bool] = lambda: False
        """Asked while the process is stopped: whether its end is wanted at once, even if something is lost."""
        self.last_grace_s = 0.0
        """The seconds that the process has to end what it has started itself, once ``is_impatient``."""
        self._told_to_end = False
        self._num_read = log.stat().st_size if log.is_file() else 0
        self._num_memory_kills = num_memory_kills()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                program(module, arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **program_environment(),
                    **(environment or {}),
                    "PYTHONUNBUFFERED": "1",
                    LAUNCHER: str(os.getpid()),
                },
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
        """Why the process ended, in one line, with the place to read more.

        It is the signal that ended the process, or what its last ``error: ...`` line says. Without either it is a full
        disk, on which it could not write that line, the exception of its last traceback, or the last line of the log.
        """
        text = self.log.read_text(encoding="utf-8", errors="replace")
        errors = _ERROR_LINE.findall(text)
        memory_ran_out = num_memory_kills() > self._num_memory_kills
        signalled = killed(self.exit_code or 0, memory_ran_out)
        if signalled is not None:
            message = f"{signalled} (before, it said: {errors[-1]})" if errors else signalled
        elif errors:
            message = str(errors[-1])
        elif is_full(self.log):
            message = complaint(self.log, errno.ENOSPC)
        else:
            raised = list(exceptions_in(text.splitlines()))
            message = raised[-1] if raised else last_line(text) or "no output"
        return f"{message} (log: {self.log})"

    def new_warnings(self) -> list[str]:
        """What the ``warning: ...`` lines say that have come to the log since the last call."""
        with self.log.open("rb") as log:
            log.seek(self._num_read)
            new, newline, _ = log.read().rpartition(b"\n")
        self._num_read += len(new) + len(newline)
        return _WARNING_LINE.findall(new.decode("utf-8", "replace"))

    def terminate(self) -> None:
        """Send SIGTERM without waiting. It is sent only once, because a second SIGTERM would end the saving early."""
        if self.exit_code is None and not self._told_to_end:
            self._told_to_end = True
            self._process.terminate()

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and after ``grace_s`` SIGKILL to all processes that are left of its session.

        Once ``is_impatient``, SIGTERM is sent a second time, and SIGKILL already ``last_grace_s`` later.
        """
        self.terminate()
        if not self._ends_within(grace_s, self.is_impatient) and self.is_impatient():
            self._process.terminate()
            self._ends_within(self.last_grace_s)
        _kill_session(self.pid)
        self._process.wait()

    def _ends_within(self, seconds: float, or_until: Callable[[], bool] = lambda: False) -> bool:
        deadline_s = time.monotonic() + seconds
        while self.exit_code is None and not or_until() and time.monotonic() < deadline_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(min(POLL_S, seconds))
        return self.exit_code is not None


def _kill_session(session: int) -> None:
    """Kill all processes of a session, and those that they start in the meantime."""
    for _ in range(MAX_KILL_ROUNDS):
        members = _session_members(session)
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return
        time.sleep(KILL_ROUND_S)


def _session_members(session: int) -> list[int]:
    """All processes of a session, including those with their own process group, such as Ray's workers."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
        except (ProcessLookupError, PermissionError, psutil.Error):
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
