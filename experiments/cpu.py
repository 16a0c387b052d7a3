"""CPU seconds of a process and of those that it started, also of those that are killed and never waited for."""

import resource
from collections.abc import Iterator

import psutil


class CpuMeter:
    """Adds up what this process and its descendants took.

    The system counts a child once it was waited for. One that was not, as vLLM's engine after its shutdown, is
    counted by what it had at the last ``look`` while it was there.
    """

    def __init__(self) -> None:
        self._descendants_s = 0.0

    def look(self) -> None:
        """To be called before a descendant is ended."""
        now_s = _user_and_system(resource.RUSAGE_CHILDREN) + sum(_descendants_s())
        # Each look sees too little where a process has gone in between, never too much.
        self._descendants_s = max(self._descendants_s, now_s)

    def total_s(self) -> float:
        """Seconds up to now, user and system."""
        self.look()
        return _user_and_system(resource.RUSAGE_SELF) + self._descendants_s


def _user_and_system(whose: int) -> float:
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def _descendants_s() -> Iterator[float]:
    """Of each that has not been waited for: its own, and of those that it has waited for itself."""
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        yield times.user + times.system + times.children_user + times.children_system
