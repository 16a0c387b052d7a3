"""Runs a comparison's cells, each to its end, several at once. Those that are complete are left alone."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaswitch.errors import AdaSwitchError
from adaswitch.io.config_files import write_config
from adaswitch.io.run_directory import RunDirectory
from experiments.plan import Cell

POLL_S = 0.2
STOP_GRACE_S = 120.0
"""How long cells under way are given to save, after a stop."""


class CellFailedError(AdaSwitchError):
    """A cell's process ended with an error."""


@dataclass
class Running:
    """A cell and the process that runs it."""

    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path


def run_cells(
    cells: Sequence[Cell],
    local: bool,
    jobs: int,
    should_stop: Callable[[], bool],
    on_change: Callable[[int, Sequence[Cell]], None],
) -> bool:
    """Run what is not complete, ``jobs`` cells at once. Whether all are complete now.

    ``on_change`` gets how many are, and those under way. The first failure stops the others and is raised.
    """
    waiting = [cell for cell in cells if not is_complete(cell)]
    running: list[Running] = []
    try:
        while (waiting or running) and not should_stop():
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0), local))
            on_change(len(cells) - len(waiting) - len(running), [item.cell for item in running])
            running = list(_still_running(running))
            time.sleep(POLL_S)
    finally:
        _stop(running)
    return all(is_complete(cell) for cell in cells)


def is_complete(cell: Cell) -> bool:
    """Whether the cell's last step was done, and its evaluations are on record."""
    return finished_file(cell).is_file()


def finished_file(cell: Cell) -> Path:
    """Written once the cell is complete: what it took."""
    return Path(cell.config.runs_dir) / cell.config.name / "finished.json"


def _start(cell: Cell, local: bool) -> Running:
    run = RunDirectory.create(cell.config)
    config = run.path / "cell.yaml"
    write_config(cell.config, config)
    log = run.path / "cell.log"
    command = [sys.executable, "-m", "experiments.cell", "--config", str(config)]
    if local:
        command.append("--local")
    threads = str(cell.config.trainer.num_threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    return Running(cell, process, log)


def _still_running(running: Sequence[Running]) -> Iterator[Running]:
    for item in running:
        code = item.process.poll()
        if code is None:
            yield item
        elif code != 0:
            raise CellFailedError(
                f"{item.cell.config.name}: {_last_line(item.log)} (the whole log: {item.log})"
            )


def _stop(running: Sequence[Running]) -> None:
    """SIGTERM has a cell save and end."""
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


def write_finished(config_path: Path, wall_s: float, cpu_s: float) -> None:
    """Note beside a cell's config that it is complete. The seconds are those of the last attempt."""
    record = {"wall_s": wall_s, "cpu_s": cpu_s}
    temporary = config_path.parent / "finished.json.tmp"
    temporary.write_text(json.dumps(record), encoding="utf-8")
    temporary.replace(config_path.parent / "finished.json")
