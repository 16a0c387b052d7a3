"""What all command line programs share: errors as one line with an exit code, and an orderly end on a signal."""

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from adaswitch.errors import AdaSwitchError, UserError
from adaswitch.last_words import one_line
from adaswitch.processes.attached import end_with_launcher, leave_lost_terminal
from adaswitch.processes.cores import wait_without_spinning
from adaswitch.storage import FULL, complaint

INTERRUPTED = 130
"""The exit code after Ctrl-C or SIGTERM, by the shell's convention."""
STDERR = 2
IMPATIENT = "that is impatient: ending at once; nothing more is saved"
"""What is said on the second request to stop."""


def program(module: str, arguments: Sequence[str]) -> list[str]:
    """The command line of one of this project's programs.

    Python looks for its modules in the working directory last: a user's own ``trainer.py`` there is not ours.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def program_environment() -> dict[str, str]:
    """The environment of ``program``: this process's own, in which the project is found wherever it stands."""
    root = str(Path(__file__).parents[2])
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*places, root])}


def find_own_code() -> None:
    """Let modules of a user's own be found in the working directory, behind all others."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append("")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn this project's errors into ``error: ...`` on stderr and the exit code of the error.

    If ADASWITCH_TRACEBACK is set, the whole traceback is shown, which helps to find the cause. Of any other exception,
    which is a fault of the program, the traceback is always shown, and such a line after it. A disk that cannot be
    written to is no fault of the program, whatever was being written.
    """
    find_own_code()
    wait_without_spinning()
    end_with_launcher()
    try:
        yield
    except AdaSwitchError as error:
        if os.environ.get("ADASWITCH_TRACEBACK"):
            raise
        # The notes of an error come first, so that the error itself is the last line.
        for note in getattr(error, "__notes__", ()):
            _say(note)
        _say(f"error: {one_line(error)}")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr, flush=True)
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        words = _words_on_storage(error)
        if words is None:
            _say_fault(error)
            raise SystemExit(1) from None
        _say(f"error: {words}")
        raise SystemExit(UserError.exit_code) from None
    except Exception as error:
        _say_fault(error)
        raise SystemExit(1) from None


def _words_on_storage(error: OSError) -> str | None:
    """One line if ``error`` is the disk's or the file system's doing; None otherwise."""
    if error.errno in (*FULL, errno.EROFS, errno.EFBIG):
        return complaint(Path(error.filename or "its output"), error.errno)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EIO) and error.filename:
        return f"{error.filename} cannot be read or written ({os.strerror(error.errno).lower()}): see to that"
    return None


def _say_fault(error: Exception) -> None:
    _say("".join(traceback.format_exception(error)) + f"error: {one_line(error)}")


def _say(words: str) -> None:
    # The log may be on the very disk that is full. The exit code tells of the failure all the same.
    with contextlib.suppress(OSError):
        print(words, file=sys.stderr, flush=True)


class StopRequest:
    """Whether SIGINT, SIGTERM, or SIGHUP of a closed terminal came.

    A second signal ends the process at once, unless the request is ``patient``.
    """

    def __init__(self, *, patient: bool = False, words: str = "") -> None:
        """``patient`` is for programs that have started other processes, and must end these first.

        ``words`` are printed as soon as the first signal comes; without words, nothing is printed.
        """
        # A plain number has no lock. The lock of an event may be held by the code that the signal interrupts.
        self._num_asked = 0
        self._patient = patient
        self._words = words
        self._may_interrupt = False

    def install(self) -> "StopRequest":
        """Take over the signals. Only the main thread may call this. Whom nohup protects stays protected."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._num_asked += 1
        leave_lost_terminal()
        if self._num_asked == 1:
            self._say(self._words)
        elif self._num_asked == 2:
            self._say(IMPATIENT)
        if self._num_asked > 1 and not self._patient:
            os._exit(INTERRUPTED)
        if self._may_interrupt:
            # Once: another signal must not interrupt what this one leads to.
            self._may_interrupt = False
            raise KeyboardInterrupt

    def _say(self, words: str) -> None:
        """Print ``words``. Python's own streams cannot be used: the signal may have interrupted their writing."""
        if self._words:
            with contextlib.suppress(OSError):
                os.write(STDERR, f"\n{words}\n".encode())

    def request(self) -> None:
        """Ask for the end of the program without a signal."""
        self._num_asked = max(self._num_asked, 1)

    @property
    def is_impatient(self) -> bool:
        """Whether a second signal came: the end is wanted at once, even if something is lost."""
        return self._num_asked > 1

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal raise ``KeyboardInterrupt`` in the block, which takes long and never looks for a request."""
        self._may_interrupt = True
        try:
            if self():
                raise KeyboardInterrupt
            yield
        finally:
            self._may_interrupt = False

    def __call__(self) -> bool:
        """Whether the end of the program was asked for."""
        return self._num_asked > 0


def is_impatient(should_stop: Callable[[], bool]) -> bool:
    """Whether ``should_stop`` is a request that was made twice. Only a ``StopRequest`` can tell."""
    return isinstance(should_stop, StopRequest) and should_stop.is_impatient


def interrupting(should_stop: Callable[[], bool]) -> AbstractContextManager[None]:
    """``StopRequest.interrupting``, if ``should_stop`` is such a request; else a block that nothing interrupts."""
    return should_stop.interrupting() if isinstance(should_stop, StopRequest) else nullcontext()
