"""How far something is: a bar in a terminal, and lines without control codes elsewhere, as in a log file."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

LINES_EVERY_S = 10.0
"""The seconds between two lines where there is no terminal. What takes less says nothing."""
MINUTE_S, HOUR_S = 60.0, 3600.0


def in_words(seconds: float) -> str:
    """A length of time as people say it: ``35 s``, ``12 min``, ``2 h 5 min``."""
    if seconds < 1.5 * MINUTE_S:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 1.5 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    hours, minutes = divmod(round(seconds / MINUTE_S), 60)
    return f"{hours:,} h {minutes} min"


def left_in_words(seconds: float | None) -> str:
    """``about 12 min left``; empty if nothing is known of it."""
    return "" if seconds is None else f"about {in_words(seconds)} left"


def bars(console: Console) -> Progress:
    """Bars that have a name, a count, the time since their start, and words: all that is shown in a terminal."""
    return Progress(
        TextColumn("[bold]{task.description}", markup=True),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn(
            "{task.fields[words]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis"),
        ),
        console=console,
        disable=not console.is_terminal,
    )


class Part:
    """A part of something that takes long: ``total`` equal pieces of work."""

    def __init__(
        self, name: str, total: int, console: Console, progress: Progress, clock: Callable[[], float]
    ) -> None:
        self._name, self._total = name, total
        self._console, self._progress, self._clock = console, progress, clock
        self._task: TaskID = progress.add_task(name, total=total, words="")
        self._done = 0
        self._began_s = self._said_s = clock()
        self._has_said = False

    def advance(self, count: int = 1, words: str = "") -> None:
        """Note that ``count`` more pieces are done, with ``words`` on how it goes."""
        self._done += count
        now_s = self._clock()
        took_s = now_s - self._began_s
        left_s = took_s / self._done * (self._total - self._done) if self._done else None
        is_over = self._done >= self._total
        left = in_words(took_s) if is_over else left_in_words(left_s)
        said = "  ".join(part for part in (words, left) if part)
        self._progress.update(self._task, completed=self._done, words=said)
        if self._console.is_terminal:
            return
        if now_s - self._said_s >= LINES_EVERY_S or (is_over and self._has_said):
            self._said_s, self._has_said = now_s, True
            line = f"{self._name}: {self._done:,} of {self._total:,}  {said}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class ShownProgress:
    """Shows how far the parts of something are, one after the other, or several at once."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._bars = bars(console)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def part(self, name: str, total: int) -> Part:
        """Begin a part of ``total`` pieces."""
        return Part(name, total, self._console, self._bars, self._clock)


@contextmanager
def working(console: Console, words: str) -> Iterator[Callable[[str], None]]:
    """Say what is being done, where nothing says how far it is: in a terminal with the time that it takes.

    Gives what changes the words.
    """
    if not console.is_terminal:
        yield lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    columns = (TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    # What others print goes where it would have gone, if that is no terminal.
    redirect = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=redirect) as progress:
        task = progress.add_task(words, total=None)
        yield lambda line: progress.update(task, description=line)
