"""``Feed``: hands a tracker what happens, in a thread, so that neither its failure nor its slowness reaches the run."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from adaswitch.last_words import one_line
from adaswitch.storage import complaint, error_number
from trainer.trackers.base import Place, Tracker

CAPACITY = 1000
"""The number of calls that may wait for a tracker. What comes while so many wait is left out."""
Call = Callable[[Tracker], None]


class Feed:
    """One tracker, and the calls that wait for it. Nothing here ever raises, or waits for the tracker but ``wait``."""

    def __init__(
        self,
        name: str,
        place: Place,
        make: Callable[[Place], Tracker],
        say: Callable[[str], None],
        capacity: int = CAPACITY,
    ) -> None:
        """``make`` makes the tracker, in the thread. ``say`` gets a line when something is amiss, once."""
        self._name = name
        self._place = place
        self._make = make
        self._say = say
        self._calls = queue.Queue[Call | None](maxsize=capacity)
        self._has_failed = False
        self._is_behind = False
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def send(self, call: Call) -> None:
        """Have ``call`` made with the tracker, after all calls before."""
        if self._has_failed:
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._fall_behind()

    def _fall_behind(self) -> None:
        if not self._is_behind:
            self._is_behind = True
            self._say(f"warning: {self._name} is slow: what it has no time for is left out there")

    def end(self, *, complete: bool) -> None:
        """Have the tracker closed after all calls before, without waiting for it."""
        for call in (lambda tracker: tracker.close(complete=complete), None):
            while True:
                try:
                    self._calls.put_nowait(call)
                    break
                except queue.Full:
                    # The end is worth more than the oldest of what waits.
                    self._fall_behind()
                    with contextlib.suppress(queue.Empty):
                        self._calls.get_nowait()

    def wait(self, deadline_s: float) -> None:
        """After ``end``: wait until all calls are made, until ``deadline_s`` by ``time.monotonic`` at the latest."""
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        if self._thread.is_alive():
            self._say(f"warning: {self._name} did not take everything in time: the rest is left out there")

    def _work(self) -> None:
        tracker: Tracker | None = None
        try:
            tracker = self._make(self._place)
        except (Exception, SystemExit) as error:  # a tracker's package may do as it likes
            self._give_up(error)
        while (call := self._calls.get()) is not None:
            if tracker is None or self._has_failed:
                continue
            try:
                call(tracker)
            except (Exception, SystemExit) as error:
                self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        self._has_failed = True
        number = error_number(error) if isinstance(error, OSError) else None
        why = one_line(error) if number is None else complaint(self._place.folder / self._name, number)
        self._say(f"warning: {self._name} gets no more of this run, which goes on: {why}")
