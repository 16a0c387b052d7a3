"""Does the work of a comparison, several pieces at once. Work that is complete is not done again."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from adaswitch.errors import AdaSwitchError, ConfigError, UserError
from adaswitch.processes.entry import is_impatient
from adaswitch.processes.managed import ManagedProcess
from experiments.work import Training, Work

POLL_S = 0.2
LOG_FILE = "cell.log"
STOP_GRACE_S = 360.0
"""Seconds that running work has, after a stop, to save its state. Ctrl-C a second time ends them early."""
LAST_GRACE_S = 10.0
"""Seconds that running work has to end what it has started, after a second request to stop."""


Running = tuple[Work, ManagedProcess]


class WorkFailedError(AdaSwitchError):
    """A process of a comparison ended with an error. ``exit_code`` is the exit code for this kind of error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_all(
    all_work: Sequence[Work],
    jobs: int,
    should_stop: Callable[[], bool],
    on_change: Callable[[int, Sequence[Work]], None],
) -> bool:
    """Do all work that is not complete, ``jobs`` pieces at once. Returns whether all work is complete now.

    ``on_change`` is called with the number of complete pieces, and with the pieces under way. The first failure
    stops all other work and is raised. Raises ``ConfigError`` if a piece was begun with other settings, or if pieces
    wait for each other.
    """
    for work in all_work:
        work.require_same_settings()
    waiting = [work for work in all_work if not is_complete(work)]
    running: list[Running] = []
    try:
        while (waiting or running) and not should_stop():
            while len(running) < jobs and (ready := _next(waiting, all_work)) is not None:
                waiting.remove(ready)
                running.append(_start(ready))
            if waiting and not running:
                raise ConfigError(f"{waiting[0].name}: takes its rollouts from a run that waits for it")
            on_change(len(all_work) - len(waiting) - len(running), [work for work, _ in running])
            running = list(_still_running(running))
            time.sleep(POLL_S)
    finally:
        _stop(running, should_stop)
    return all(is_complete(work) for work in all_work)


def is_complete(work: Work) -> bool:
    """Whether the result of ``work`` exists."""
    return work.result.is_file()


def _next(waiting: Sequence[Work], all_work: Sequence[Work]) -> Work | None:
    """The first piece that can start. A piece that needs another piece's run waits until that run is complete."""
    incomplete = {
        work.folder.resolve() for work in all_work if isinstance(work, Training) and not is_complete(work)
    }
    return next((work for work in waiting if work.source not in incomplete), None)


def _start(work: Work) -> Running:
    module, arguments = work.begin()
    threads = str(work.num_threads)
    environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return work, ManagedProcess(work.name, module, arguments, work.folder / LOG_FILE, environment)


def _still_running(running: Sequence[Running]) -> Iterator[Running]:
    for work, process in running:
        code = process.exit_code
        if code is None:
            yield work, process
        elif code != 0:
            raise WorkFailedError(
                f"{work.name}: {process.last_error()}",
                exit_code=code if code == UserError.exit_code else AdaSwitchError.exit_code,
            )


def _stop(running: Sequence[Running], should_stop: Callable[[], bool]) -> None:
    """Send SIGTERM to all running work at once, upon which each piece saves its state and ends.

    If the stop is asked for impatiently, a second SIGTERM lets each piece end at once all that it has started.
    """
    for _, process in running:
        process.terminate()
    for _, process in running:
        process.is_impatient, process.last_grace_s = partial(is_impatient, should_stop), LAST_GRACE_S
        process.stop(STOP_GRACE_S)
