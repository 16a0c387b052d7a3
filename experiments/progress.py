"""How far a comparison is: done, running, left and for how long yet; on the screen, and in a file of its folder."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from adaswitch.errors import DataError, StorageError
from adaswitch.processes.progress import in_words
from adaswitch.runs.directory import NUMBER, RunDirectory, read_records
from adaswitch.runs.status import read_status, utc_now
from adaswitch.storage import write_atomically
from experiments.work import Training, Work

PROGRESS_FILE = "progress.txt"
"""The same lines as on the screen, in the comparison's folder; written anew every few seconds."""
FILE_EVERY_S = 5.0
LINES_EVERY_S = 30.0
"""The seconds between two lines where there is no terminal, beside those on each piece that is done."""


class Estimate:
    """How long the rest of the work takes, from what was done in this call so far."""

    def __init__(self, work: Sequence[Work], jobs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._work, self._jobs, self._clock = work, jobs, clock
        self._began_s: dict[str, float] = {}
        self._first_share: dict[str, float] = {}
        self._took_s: dict[bool, list[float]] = {True: [], False: []}
        """The seconds of what was done from its start to its end, of trainings and of evaluations."""

    def begin(self, item: Work) -> None:
        """Note that ``item`` has begun, at whatever an earlier call has left of it."""
        self._began_s[item.name], self._first_share[item.name] = self._clock(), share_done(item)

    def end(self, item: Work) -> float:
        """Note that ``item`` is done. Returns the seconds that it took in this call."""
        took_s = self._clock() - self._began_s.pop(item.name)
        if (share := 1 - self._first_share.pop(item.name)) > 0:
            self._took_s[isinstance(item, Training)].append(took_s / share)
        return took_s

    def left(self, running: Sequence[Work], waiting: Sequence[Work]) -> str:
        """The time that is left, in words; empty as long as nothing is known of it.

        Where nothing is known yet of one kind of pieces, it is more than what the other kind takes.
        """
        whole_s = {kind: self._whole_s(kind, running) for kind in (True, False)}
        pieces = [
            (whole_s[isinstance(item, Training)], 1 - share_done(item)) for item in (*running, *waiting)
        ]
        total_s = sum(known_s * share for known_s, share in pieces if known_s is not None)
        if not total_s:
            return ""
        words = in_words(total_s / max(1, min(self._jobs, len(pieces))))
        return f"{'about' if all(known_s is not None for known_s, _ in pieces) else 'more than'} {words} left"

    def _whole_s(self, is_training: bool, running: Sequence[Work]) -> float | None:
        """The seconds of a whole piece of one kind: of those that are done, else as the running ones promise."""
        known = list(self._took_s[is_training])
        for item in running if not known else ():
            share = share_done(item) - self._first_share.get(item.name, 0.0)
            if isinstance(item, Training) == is_training and share > 0:
                known.append((self._clock() - self._began_s[item.name]) / share)
        return sum(known) / len(known) if known else None


def share_done(item: Work) -> float:
    """The part of ``item`` that is done, from 0 to 1, as far as its folder tells."""
    if item.result.is_file():
        return 1.0
    if not isinstance(item, Training):
        return 0.0
    run = RunDirectory(item.folder)
    try:
        status = read_status(run)
        share = 0.0 if status is None or not status.num_steps else status.step / status.num_steps
        if item.time_limit_s is not None:
            records = read_records(run.metrics, {"step_s": NUMBER})
            share = max(share, sum(record["step_s"] for record in records) / item.time_limit_s)
    except DataError:  # Said by the cell itself, which cannot go on with it.
        return 0.0
    return min(1.0, share)


class ComparisonProgress:
    """Shows how far a comparison is. Call ``show`` whenever work may have begun or ended."""

    def __init__(
        self,
        work: Sequence[Work],
        jobs: int,
        folder: Path,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``folder`` is the comparison's, and must exist."""
        self._work, self._folder, self._console, self._clock = work, folder, console, clock
        self._estimate = Estimate(work, jobs, clock)
        self._running: list[Work] = []
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._whole = self._bars.add_task("all", total=len(work), words="")
        self._tasks: dict[str, TaskID] = {}
        self._looked_s = self._said_s = -LINES_EVERY_S
        self._is_file_writable = True

    def __enter__(self) -> "ComparisonProgress":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._take([])
        self._bars.stop()
        num_done = sum(item.result.is_file() for item in self._work)
        words = _words(0, len(self._work) - num_done, "")
        self._write(f"{num_done} of {len(self._work)} done, {words}")

    def show(self, num_complete: int, running: Sequence[Work]) -> None:
        """Show that ``running`` is under way now. ``num_complete`` pieces are complete."""
        changed = self._take(running)
        now_s = self._clock()
        if not changed and now_s - self._looked_s < FILE_EVERY_S:
            return
        self._looked_s = now_s
        waiting = [item for item in self._work if item not in running and not item.result.is_file()]
        words = _words(len(running), len(waiting), self._estimate.left(running, waiting))
        num_done = len(self._work) - len(running) - len(waiting)
        lines = [
            f"{num_done} of {len(self._work)} done, {words}",
            *(f"running: {_row(item)}" for item in running),
        ]
        self._write("\n".join(lines))
        self._bars.update(self._whole, completed=num_complete, words=words)
        for item in running:
            self._bars.update(self._tasks[item.name], completed=round(100 * share_done(item)))
        if changed or now_s - self._said_s >= LINES_EVERY_S:
            self._said_s = now_s
            self._say("; ".join(lines))

    def _take(self, running: Sequence[Work]) -> bool:
        """Note what has begun and what has ended since the last call. Returns whether anything has."""
        ended = [item for item in self._running if item not in running]
        begun = [item for item in running if item not in self._running]
        for item in ended:
            took_s = self._estimate.end(item)
            self._bars.remove_task(self._tasks.pop(item.name))
            if item.result.is_file():
                self._console.print(f"done: {item.name}, {in_words(took_s)}", highlight=False, markup=False)
        for item in begun:
            self._estimate.begin(item)
            self._tasks[item.name] = self._bars.add_task(f"  {item.name}", total=100, words="%")
        self._running = list(running)
        return bool(ended or begun)

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _write(self, text: str) -> None:
        """Write the file. Without it the comparison goes on: it is for looking at alone."""
        if not self._is_file_writable:
            return
        try:
            write_atomically(self._folder / PROGRESS_FILE, f"{utc_now()}  {text}\n".encode())
        except StorageError as error:
            self._is_file_writable = False
            self._console.print(f"note: {error}", highlight=False, markup=False, soft_wrap=True)


def _words(num_running: int, num_left: int, left: str) -> str:
    parts = (f"{num_running} running" if num_running else "nothing is running", f"{num_left} left", left)
    return ", ".join(part for part in parts if part)


def _row(item: Work) -> str:
    return f"{item.name} ({share_done(item):.0%})" if isinstance(item, Training) else item.name
