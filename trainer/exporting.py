"""Reports a run's figures to the cluster's metrics board: the trainer's own, the queue's and the students'.

Everything happens in a thread of its own. If the cluster does not answer, figures come later, and the run goes on.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from adaswitch.last_words import one_line
from adaswitch.runs.exported import Report

REPORT_EVERY_S = 2.0
"""Less than Prometheus' interval, so that every scrape finds new figures."""
PATIENCE_S = 10.0
"""The seconds for which the end of a run waits for its last report."""


class Board(Protocol):
    """The metrics board, for one run. Any method may raise, and may take seconds."""

    def complaint(self) -> str | None:
        """Why the metrics are not served; None if they are."""

    def others(self) -> Sequence[Report]:
        """The reports of the queue and of the students; none while the queue does not answer."""

    def report(self, reports: Sequence[Report]) -> None:
        """Give the board the newest reports of the run. If it does not answer, they are lost."""


class Exporting:
    """``with Exporting(...):`` reports until the end, and once more then. Nothing here raises, or holds up the run."""

    def __init__(
        self,
        connect: Callable[[], Board],
        own: Callable[[], Report],
        say: Callable[[str], None],
        every_s: float = REPORT_EVERY_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """``connect`` finds the board, or starts it. ``own`` is the trainer's report. ``say`` gets a line, once."""
        self._connect = connect
        self._own = own
        self._say = say
        self._every_s = every_s
        self._patience_s = patience_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Report once more, without waiting for long."""
        self._ended.set()
        self._thread.join(self._patience_s)

    def _work(self) -> None:
        try:
            board = self._connect()
            complaint = board.complaint()
            if complaint is not None:
                self._say(f"warning: the run goes on without Prometheus metrics: {complaint}")
                return
            is_over = False
            while not is_over:
                is_over = self._ended.is_set()
                board.report([self._own(), *board.others()])
                self._ended.wait(self._every_s)
        except Exception as error:  # whatever it is, it is no reason to end a run
            self._say(f"warning: the run goes on without Prometheus metrics: {one_line(error)}")
