"""How much of the time the processes of a run compute, as the kernel counts it.

A process is busy while its busiest thread runs or waits for a core; it is idle while that thread waits for anything
else. The kernel counts both in /proc/PID/task/TID/schedstat, in nanoseconds, so that other processes on the same cores
make nobody look idle.
"""

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from adaswitch.runs.directory import RunDirectory, read_records

POLL_S = 0.2
STUDENT, TEACHER = "StudentActor", "services.teacher"


@dataclass(frozen=True)
class Sample:
    """The time, and for each thread its nanoseconds on a core or waiting for one."""

    at_s: float
    busy_ns: dict[tuple[int, str], int]


@dataclass
class BusyWatch:
    """Looks at the students and at the teacher of a run from its first ``after`` steps on, until its end."""

    run: RunDirectory
    after: int
    _first: Sample | None = None
    _last: Sample | None = None
    _roles: dict[int, str] = field(default_factory=dict)

    def follow(self, process: "subprocess.Popen[bytes]") -> None:
        """Take samples until ``process``, which runs the whole, has ended."""
        started_s = psutil.Process(process.pid).create_time()
        while process.poll() is None:
            if len(list(read_records(self.run.metrics))) > self.after:
                self._roles = self._roles or _roles(started_s)
                sample = take(self._roles)
                self._first = self._first or sample
                if sample.busy_ns.keys() >= self._first.busy_ns.keys():
                    self._last = sample
            time.sleep(POLL_S)

    def idle_share(self) -> float:
        """The idle share of the slower part: of the teacher, or of the students on average, whichever is smaller."""
        if self._first is None or self._last is None:
            raise ValueError("the run ended before it was looked at")
        seconds = self._last.at_s - self._first.at_s
        busy: dict[int, float] = {}
        for (pid, thread), start_ns in self._first.busy_ns.items():
            share = (self._last.busy_ns[pid, thread] - start_ns) / 1e9 / seconds
            busy[pid] = max(busy.get(pid, 0.0), share)
        students = [busy[pid] for pid, role in self._roles.items() if role == STUDENT]
        teacher = max(busy[pid] for pid, role in self._roles.items() if role == TEACHER)
        return 1 - max(teacher, sum(students) / len(students))


def _roles(since_s: float) -> dict[int, str]:
    """The processes of the students and of the teacher, by id. The teacher's engine may be a process of its own."""
    roles = {}
    for process in psutil.process_iter(["cmdline", "create_time"]):
        if process.info["create_time"] < since_s:
            continue
        words = " ".join(process.info["cmdline"] or ())
        role = next((role for role in (STUDENT, TEACHER) if role in words), None)
        if role is not None:
            roles[process.pid] = role
            if role == TEACHER:
                roles |= {child.pid: TEACHER for child in process.children(recursive=True)}
    return roles


def take(roles: dict[int, str]) -> Sample:
    """The threads of all these processes now. A thread that has ended is left out."""
    busy = {}
    for pid in roles:
        for folder in Path(f"/proc/{pid}/task").glob("*"):
            try:
                running, waiting, _ = (folder / "schedstat").read_text(encoding="ascii").split()
            except OSError:
                continue
            busy[pid, folder.name] = int(running) + int(waiting)
    return Sample(time.monotonic(), busy)
