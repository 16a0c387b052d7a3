"""Runs a comparison's cells, each to its end, several at once. Those that are complete are left alone."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaswitch.config import RandomSwitchPolicyConfig, ReplayPolicyConfig
from adaswitch.errors import AdaSwitchError, ConfigError, UserError
from adaswitch.io.config_files import load_config, write_config
from adaswitch.io.run_directory import RunDirectory
from experiments.plan import Cell

CELL_FILE = "cell.yaml"
"""The cell's own settings, in its run directory."""
POLL_S = 0.2
STOP_GRACE_S = 120.0
"""How long cells under way are given to save, after a stop."""


class CellFailedError(AdaSwitchError):
    """A cell's process ended with an error, and with the exit code that belongs to it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


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
    Raises ``ConfigError`` where a cell was begun with other settings, or waits for itself.
    """
    for cell in cells:
        require_same_settings(cell)
    waiting = [cell for cell in cells if not is_complete(cell)]
    running: list[Running] = []
    try:
        while (waiting or running) and not should_stop():
            while len(running) < jobs and (ready := _next(waiting, cells)) is not None:
                waiting.remove(ready)
                running.append(_start(ready, local))
            if waiting and not running:
                raise ConfigError(
                    f"{waiting[0].config.name}: takes its rollouts from a run that waits for it"
                )
            on_change(len(cells) - len(waiting) - len(running), [item.cell for item in running])
            running = list(_still_running(running))
            time.sleep(POLL_S)
    finally:
        _stop(running)
    return all(is_complete(cell) for cell in cells)


def require_same_settings(cell: Cell) -> None:
    """Raises ``ConfigError`` for a cell that was begun with other settings: its results are not this plan's."""
    begun = _folder(cell) / CELL_FILE
    if not begun.is_file():
        return
    before, now = (_flat(config.model_dump(mode="json")) for config in (load_config(begun), cell.config))
    for key in [key for key in {**before, **now} if before.get(key) != now.get(key)][:1]:
        raise ConfigError(
            f"{cell.config.name}: {key} is {now.get(key)!r} in the plan, and was {before.get(key)!r} when this run "
            f"was begun: give the plan another name, or remove {_folder(cell)}"
        )


def _flat(document: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return flat


def _next(waiting: Sequence[Cell], cells: Sequence[Cell]) -> Cell | None:
    """The first that can start: one that takes something from another cell's run waits until that is complete."""
    incomplete = {_folder(cell).resolve() for cell in cells if not is_complete(cell)}
    return next((cell for cell in waiting if _source(cell) not in incomplete), None)


def _source(cell: Cell) -> Path | None:
    """The run directory that the cell's policy reads."""
    match cell.config.policy:
        case RandomSwitchPolicyConfig(from_run=str(source)) | ReplayPolicyConfig(run=source):
            return Path(source).resolve()
        case _:
            return None


def is_complete(cell: Cell) -> bool:
    """Whether the cell's last step was done, and its evaluations are on record."""
    return finished_file(cell).is_file()


def finished_file(cell: Cell) -> Path:
    """Written once the cell is complete: what it took."""
    return _folder(cell) / "finished.json"


def _folder(cell: Cell) -> Path:
    return Path(cell.config.runs_dir) / cell.config.name


def _start(cell: Cell, local: bool) -> Running:
    run = RunDirectory.create(cell.config)
    config = run.path / CELL_FILE
    write_config(cell.config, config)
    log = run.path / "cell.log"
    command = [sys.executable, "-m", "experiments.cell", "--config", str(config)]
    if local:
        command.append("--local")
    threads = str(cell.config.trainer.num_threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with log.open("ab") as output:
        # A session of its own: Ctrl-C is for us, and a second signal would not let the cell save.
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    return Running(cell, process, log)


def _still_running(running: Sequence[Running]) -> Iterator[Running]:
    for item in running:
        code = item.process.poll()
        if code is None:
            yield item
        elif code != 0:
            raise CellFailedError(
                f"{item.cell.config.name}: {_last_line(item.log)} (the whole log: {item.log})",
                exit_code=code if code == UserError.exit_code else AdaSwitchError.exit_code,
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
