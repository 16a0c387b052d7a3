"""Waiting for what nothing tells of: files of other processes, and the processes themselves."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], bool],
    what: str,
    check: Callable[[], None] = lambda: None,
    timeout_s: float = 120.0,
) -> None:
    """Until ``condition``; looks often, where nothing tells. ``check`` fails if it can no longer come."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        check()
        assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.05)
