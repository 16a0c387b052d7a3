"""``SteppingThread``: the one thread in which vLLM's engine lives. It steps while there is work, and runs jobs between.

vLLM's engine is not thread-safe, and a thread of its own keeps it from blocking the event loop. A job that is submitted
while the engine computes waits for the end of that step, a few milliseconds.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Stepped(Protocol):
    """What the thread steps."""

    def has_work(self) -> bool:
        """Whether there is anything to do in a step."""

    def step(self) -> None:
        """Do one step."""

    def fail(self, error: Exception) -> None:
        """A step has failed, so none will follow. Called in the thread, once."""


class SteppingThread:
    """Runs jobs in the order in which they are submitted, and ``stepped`` in between."""

    def __init__(self, stepped: Stepped, name: str) -> None:
        self._stepped = stepped
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._failed = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> "Future[T]":
        """Run ``job`` in the thread. The future gets its result or its error; once closed, it is cancelled."""
        future: Future[T] = Future()
        self._jobs.put((job, future))
        if self._closed.is_set():
            self._cancel_rest()
        return future

    def close(self) -> None:
        """End the thread after the jobs that were submitted before. Waits for it, unless it is called from a job."""
        self._jobs.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(block=self._failed or not self._stepped.has_work())
            except Empty:
                self._step()
                continue
            if job is None:
                break
            _settle(*job)
        self._closed.set()
        self._cancel_rest()

    def _step(self) -> None:
        try:
            self._stepped.step()
        except Exception as error:
            self._failed = True
            self._stepped.fail(error)

    def _cancel_rest(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            if job is not None:
                job[1].cancel()


def _settle(job: Callable[[], T], future: "Future[T]") -> None:
    """Run ``job``, unless nobody waits for it any more."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
