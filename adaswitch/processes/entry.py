"""What every command line entry shares: errors as one line with an exit code, and a polite end on a signal."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from adaswitch.errors import AdaSwitchError, cause_of

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, by the shell's convention."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn this project's errors into ``error: ...`` on stderr and the exit code that belongs to them.

    With ADASWITCH_TRACEBACK set the whole trace is shown, for whoever looks for the cause.
    """
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
    """Whether SIGINT or SIGTERM came. A second one ends the process at once, unless it is ``patient``."""

    def __init__(self, *, patient: bool = False) -> None:
        """Patient is who has started others, and must see to their end."""
        # A plain flag: an event's lock may be held by the very code that a signal interrupts.
        self._asked = False
        self._patient = patient

    def install(self) -> "StopRequest":
        """Take over both signals; for the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked and not self._patient:
            os._exit(INTERRUPTED)
        self._asked = True

    def request(self) -> None:
        """Ask for the end without a signal."""
        self._asked = True

    def __call__(self) -> bool:
        """Whether the end was asked for."""
        return self._asked
