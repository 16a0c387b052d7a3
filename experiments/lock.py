"""Lets one process at a time work in a cell's directory: a cell may outlive the comparison that started it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaswitch.errors import EnvironmentProblem

LOCK_FILE = "cell.lock"
"""Contains the id of the process that holds the lock, for people. The lock ends with that process, however it ends."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock ``folder`` for this process. Raises ``EnvironmentProblem`` at once if another process has locked it."""
    with (folder / LOCK_FILE).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise EnvironmentProblem(
                f"{folder}: process {file.read().strip() or '(unknown)'} is at work on this cell, perhaps left by a "
                "comparison that was killed: wait for its end, or end it, and start again"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
