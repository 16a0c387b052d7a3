"""``python -m experiments.cell``: runs one cell of a comparison, in a process of its own."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaswitch.processes.entry import INTERRUPTED, StopRequest, interrupting, one_line_errors
from experiments.engines import LocalEngine

STOPPING = "stopping: what was trained is saved"

if TYPE_CHECKING:
    from adaswitch.config.run import RunConfig
    from experiments.cpu import CpuMeter


def main(
    config: Annotated[Path, typer.Option(help="YAML file with the cell's settings.")],
    local: Annotated[
        LocalEngine | None,
        typer.Option(help="Run teacher and student in this process, the teacher on this engine."),
    ] = None,
) -> None:
    """Run one cell to its end, from its newest checkpoint if it has one."""
    with one_line_errors():
        started_s = time.perf_counter()
        from adaswitch.runs.config_files import load_config
        from adaswitch.runs.directory import read_records, write_atomically
        from experiments.lock import held
        from experiments.work import ATTEMPTS_FILE, FINISHED_FILE

        settings, attempts = load_config(config), config.parent / ATTEMPTS_FILE
        with held(config.parent):
            should_stop = StopRequest(patient=local is None, words=STOPPING).install()
            with _on_record(attempts, started_s) as cpu:
                complete = _run(settings, local, should_stop, cpu)
            if not complete:
                raise SystemExit(INTERRUPTED)
            records = list(read_records(attempts))
            total = {name: sum(record[name] for record in records) for name in ("wall_s", "cpu_s")}
            write_atomically(config.parent / FINISHED_FILE, json.dumps(total).encode())


@contextmanager
def _on_record(attempts: Path, started_s: float) -> "Iterator[CpuMeter]":
    """Record the wall and CPU seconds of this attempt, however it ends, unless it is killed."""
    from adaswitch.runs.directory import append_record
    from experiments.cpu import CpuMeter

    cpu = CpuMeter()
    try:
        yield cpu
    finally:
        took = {"wall_s": time.perf_counter() - started_s, "cpu_s": cpu.total_s()}
        append_record(attempts, took)


def _run(
    settings: "RunConfig", local: LocalEngine | None, should_stop: Callable[[], bool], cpu: "CpuMeter"
) -> bool:
    """Run the cell. Returns whether its run is complete."""
    if local is not None:
        from experiments.local import train_locally

        return train_locally(settings, should_stop, local, before_close=cpu.look)
    from adaswitch.commands.launch import LocalRun

    # ``cpu.look`` is called while the run's processes live: nobody waits for the workers of Ray and of the teacher, so
    # their CPU time would be missing afterwards.
    with interrupting(should_stop):
        run = LocalRun(settings, lambda line: print(line, flush=True))
    return run.execute(should_stop, cpu.look)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(
        epilog="Example: python -m experiments.cell --config runs/demo-warm/skd-seed1/cell.yaml --local transformers"
    )(main)
    app()
