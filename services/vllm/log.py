"""Captures what an engine prints while it starts: one line of it if the start fails, nothing if the start succeeds.

vLLM says why it could not start only in the log and the traceback of its engine process. The process writes both to
the standard streams that it inherits from this process.
"""

import os
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from adaswitch.last_words import exceptions_in

MAX_LINES = 2000
JOIN_TIMEOUT_S = 2.0
_REASON = re.compile(r"(?:^|[\s\]])((?:\w+\.)*\w*(?:Error|Exception|Exit)): (.+)$")
# Messages that begin like this only say that something else failed.
_EMPTY_REASONS = ("Engine core initialization failed", "WorkerProc initialization failed")


def _mentioned(lines: Sequence[str]) -> Iterator[str]:
    """Lines that look like an exception, outside of a traceback."""
    for line in lines:
        match = _REASON.search(line)
        if match:
            yield f"{match[1].rsplit('.', 1)[-1]}: {match[2].strip()}"


class EngineLog:
    """The last lines that this process and the processes that it started wrote to stdout and stderr."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._reader: threading.Thread | None = None

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Capture stdout and stderr inside the ``with`` block; of a process started there, for as long as it lives."""
        reader, writer = os.pipe()
        self._reader = threading.Thread(target=self._read, args=(reader,), daemon=True, name="engine-log")
        self._reader.start()
        saved = [(stream, os.dup(stream)) for stream in (1, 2)]
        try:
            for stream, _ in saved:
                os.dup2(writer, stream)
            os.close(writer)
            yield
        finally:
            for stream, copy in saved:
                os.dup2(copy, stream)
                os.close(copy)

    def reason(self) -> str | None:
        """The first exception in the log that names a cause, as ``ValueError: message``; None if there is none.

        Tracebacks come first: their exceptions are known by their place, other lines only by their look.
        """
        if self._reader is not None:
            self._reader.join(JOIN_TIMEOUT_S)  # the reader ends once the last process that writes has ended
        lines = list(self._lines)
        for reason in (*exceptions_in(lines), *_mentioned(lines)):
            if not reason.partition(": ")[2].startswith(_EMPTY_REASONS):
                return reason
        return None

    def _read(self, reader: int) -> None:
        with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self._lines.append(line.rstrip())
