"""``status.json``: where a run stands, how its newest attempt ended, and the command that goes on with it.

The trainer writes the file; the launcher of a local run writes it where the trainer did not get to. A process that was
killed leaves the file as it was: ``Status.state`` then says that the run has died.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import psutil

from adaswitch.errors import DataError, StorageError
from adaswitch.runs.directory import RunDirectory, write_atomically

DIED = "died"
WRITE_EVERY_S = 1.0
"""The number of seconds between two writes while nothing but the step changes."""
CLOCK_TOLERANCE_S = 2.0


class Phase(StrEnum):
    """What a run is doing, or how its newest attempt ended."""

    STARTING = "starting"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    STOPPED = "stopped"
    FAILED = "failed"
    COMPLETE = "complete"

    @property
    def is_end(self) -> bool:
        """Whether an attempt in this phase is over."""
        return self in (Phase.STOPPED, Phase.FAILED, Phase.COMPLETE)


@dataclass(frozen=True)
class Status:
    """The content of ``status.json``. Times are in UTC, as in ``2026-11-30T16:12:24Z``."""

    phase: Phase
    step: int
    """The number of updates that the weights have had."""
    num_steps: int
    attempt: int
    """The number of the attempt, counted from 1."""
    started: str
    updated: str
    pid: int
    host: str
    """The machine on which ``pid`` is a process."""
    during: Phase | None
    """The phase in which the attempt ended; None while it goes on."""
    why: str | None
    """One line on why the attempt ended; None while it goes on."""
    command: str
    """The command that goes on with the run."""

    @property
    def state(self) -> str:
        """The phase, or ``died`` if the process that was in it is gone without a word."""
        return self.phase.value if self.phase.is_end or self.may_be_at_work() else DIED

    def may_be_at_work(self) -> bool:
        """Whether the attempt's process may be alive. Nothing is known of a process on another machine."""
        return not self.phase.is_end and (self.host != socket.gethostname() or _is_alive(self))

    def is_at_work_here(self) -> bool:
        """Whether the attempt's process is alive, on this machine."""
        return not self.phase.is_end and self.host == socket.gethostname() and _is_alive(self)


def _is_alive(status: Status) -> bool:
    try:
        process = psutil.Process(status.pid)
        began_s, is_over = process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    # A younger process has been given the same number.
    return not is_over and began_s <= seconds_of(status.updated) + CLOCK_TOLERANCE_S


class StatusFile:
    """Writes the ``status.json`` of one attempt. A file that cannot be written is no reason to end a run."""

    def __init__(
        self,
        run: RunDirectory,
        attempt: int,
        num_steps: int,
        command: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        now, saved = utc_now(), run.checkpoint_steps()
        self._run = run
        self._clock = clock
        self._written_s = -WRITE_EVERY_S
        self._complained = False
        self.status = Status(
            phase=Phase.STARTING,
            step=saved[-1] if saved else 0,
            num_steps=num_steps,
            attempt=attempt,
            started=now,
            updated=now,
            pid=os.getpid(),
            host=socket.gethostname(),
            during=None,
            why=None,
            command=command,
        )

    def enter(self, phase: Phase, step: int) -> None:
        """Note what is done now, and the number of updates so far."""
        is_new = phase is not self.status.phase
        self.status = replace(self.status, phase=phase, step=step, during=None, why=None)
        if is_new or self._clock() - self._written_s >= WRITE_EVERY_S:
            self.write()

    def end(self, phase: Phase, why: str) -> None:
        """Note how the attempt has ended, and why. A later call has the last word."""
        during = self.status.during or self.status.phase
        self.status = replace(self.status, phase=phase, during=during, why=one_line(why))
        self.write()

    def goes_on_with(self, command: str) -> None:
        """Note the command that goes on with the run."""
        self.status = replace(self.status, command=command)
        self.write()

    def read_again(self) -> None:
        """Go on from what another process of the same attempt, the trainer, has written in the meantime."""
        try:
            found = read_status(self._run)
        except DataError:
            return
        if found is not None and found.attempt == self.status.attempt:
            self.status = found

    def take_over(self) -> None:
        """Go on with the attempt in this process, which another process has begun."""
        self.read_again()
        self.status = replace(self.status, pid=os.getpid(), host=socket.gethostname())
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self._written_s = self._clock()
        self.status = replace(self.status, updated=utc_now())
        document = {"name": self._run.path.name, **asdict(self.status)}
        try:
            write_atomically(self._run.status, (json.dumps(document, indent=2) + "\n").encode())
        except StorageError as error:
            if not self._complained:
                print(f"note: {error}", file=sys.stderr, flush=True)
            self._complained = True


def read_status(run: RunDirectory) -> Status | None:
    """The status of ``run``; None for a run of an older version. Raises ``DataError`` for a damaged file."""
    try:
        document = json.loads(run.status.read_bytes())
        return Status(
            phase=Phase(document["phase"]),
            step=int(document["step"]),
            num_steps=int(document["num_steps"]),
            attempt=int(document["attempt"]),
            started=_time(document["started"]),
            updated=_time(document["updated"]),
            pid=int(document["pid"]),
            host=str(document["host"]),
            during=None if document["during"] is None else Phase(document["during"]),
            why=None if document["why"] is None else str(document["why"]),
            command=str(document["command"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", source=str(run.status)) from None
    except (ValueError, KeyError, TypeError):
        raise DataError("the file is damaged: remove it", source=str(run.status)) from None


def one_line(text: str) -> str:
    """``text`` on a single line."""
    return " ".join(text.split())


def utc_now() -> str:
    """The time now, as in ``2026-11-30T16:12:24Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """The seconds since 1970 of a time that ``utc_now`` gave."""
    return datetime.fromisoformat(text).timestamp()


def _time(text: object) -> str:
    seconds_of(str(text))
    return str(text)
