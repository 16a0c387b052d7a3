"""What all command line programs share: errors as one line with an exit code, and an orderly end on a signal."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from adaswitch.errors import AdaSwitchError, cause_of

INTERRUPTED = 130
"""The exit code after Ctrl-C or SIGTERM, by the shell's convention."""


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

    If ADASWITCH_TRACEBACK is set, the whole traceback is shown, which helps to find the cause.
    """
    find_own_code()
    try:
        yield
    except AdaSwitchError as error:
        if os.environ.get("ADASWITCH_TRACEBACK"):
            raise
        print(f"error: {cause_of(error)}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


class StopRequest:
    """Whether SIGINT or SIGTERM came. A second signal ends the process at once, unless the request is ``patient``."""

    def __init__(self, *, patient: bool = False) -> None:
        """``patient`` is for programs that have started other processes, and must end these first."""
        # A plain flag has no lock. The lock of an event may be held by the code that the signal interrupts.
        self._asked = False
        self._patient = patient

    def install(self) -> "StopRequest":
        """Take over both signals. Only the main thread may call this."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked and not self._patient:
            os._exit(INTERRUPTED)
        self._asked = True

    def request(self) -> None:
        """Ask for the end of the program without a signal."""
        self._asked = True

    def __call__(self) -> bool:
        """Whether the end of the program was asked for."""
        return self._asked
