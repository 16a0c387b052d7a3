"""Does a comparison's work, several pieces at once. What is complete is left alone."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaswitch.errors import AdaSwitchError, ConfigError, UserError
from experiments.work import Training, Work

POLL_S = 0.2
STOP_GRACE_S = 120.0
"""How long work under way is given to save, after a stop."""


class WorkFailedError(AdaSwitchError):
    """A process of a comparison ended with an error, and with the exit code that belongs to it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Running:
    """A piece of work and the process that does it."""

    work: Work
    process: subprocess.Popen[bytes]
    log: Path


def run_all(
    all_work: Sequence[Work],
    jobs: int,
    should_stop: Callable[[], bool],
    on_change: Callable[[int, Sequence[Work]], None],
) -> bool:
    """Do what is not complete, ``jobs`` pieces at once. Whether all are complete now.

    ``on_change`` gets how many are, and those under way. The first failure stops the others and is raised.
    Raises ``ConfigError`` where something was begun with other settings, or waits for itself.
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
            on_change(len(all_work) - len(waiting) - len(running), [item.work for item in running])
            running = list(_still_running(running))
            time.sleep(POLL_S)
    finally:
        _stop(running)
    return all(is_complete(work) for work in all_work)


def is_complete(work: Work) -> bool:
    """Whether its result is there."""
    return work.result.is_file()


def _next(waiting: Sequence[Work], all_work: Sequence[Work]) -> Work | None:
    """The first that can start: one that needs another's run waits until that is complete."""
    incomplete = {
        work.folder.resolve() for work in all_work if isinstance(work, Training) and not is_complete(work)
    }
    return next((work for work in waiting if work.source not in incomplete), None)


def _start(work: Work) -> Running:
    command = work.begin()
    log = work.folder / "cell.log"
    threads = str(work.num_threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with log.open("ab") as output:
        # A session of its own: Ctrl-C is for us, and a second signal would not let the work save.
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    return Running(work, process, log)


def _still_running(running: Sequence[Running]) -> Iterator[Running]:
    for item in running:
        code = item.process.poll()
        if code is None:
            yield item
        elif code != 0:
            raise WorkFailedError(
                f"{item.work.name}: {_last_line(item.log)} (the whole log: {item.log})",
                exit_code=code if code == UserError.exit_code else AdaSwitchError.exit_code,
            )


def _stop(running: Sequence[Running]) -> None:
    """SIGTERM has work under way save and end."""
    for item in running:
        item.process.terminate()
    for item in running:
        try:
            item.process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            item.process.kill()
            item.process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "ended without a word"
