"""Measures the CPU seconds of a process and its descendants, even of those that are killed and never waited for."""

import resource
from collections.abc import Iterator

import psutil


class CpuMeter:
    """Adds up the CPU seconds of this process and its descendants.

    The system adds a child's time to its parent's once the parent has waited for the child. A process that nobody
    waits for, such as vLLM's engine after its shutdown, counts with the time that it had at the last ``look``.
    """

    def __init__(self) -> None:
        self._descendants_s = 0.0

    def look(self) -> None:
        """Read the CPU time of all descendants. Call this before a descendant is ended."""
        now_s = _user_and_system(resource.RUSAGE_CHILDREN) + sum(_descendants_s())
        # A look may miss the time of a process that has ended meanwhile, but never sees too much: the largest is kept.
        self._descendants_s = max(self._descendants_s, now_s)

    def total_s(self) -> float:
        """CPU seconds up to now, user and system time together."""
        self.look()
        return _user_and_system(resource.RUSAGE_SELF) + self._descendants_s


def _user_and_system(whose: int) -> float:
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def _descendants_s() -> Iterator[float]:
    """CPU seconds of each descendant that nobody has waited for: its own, and those of children it has waited for."""
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        yield times.user + times.system + times.children_user + times.children_system
