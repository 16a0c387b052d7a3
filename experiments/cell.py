"""``python -m experiments.cell``: one run of a comparison, in a process of its own."""

import json
import resource
import time
from pathlib import Path
from typing import Annotated

import typer

from adaswitch.io.entry import INTERRUPTED, StopRequest, one_line_errors
from experiments.engines import LocalEngine


def main(
    config: Annotated[Path, typer.Option(help="The cell's settings, a YAML file.")],
    local: Annotated[
        LocalEngine | None,
        typer.Option(help="Teacher and student in this process, the teacher on this engine."),
    ] = None,
) -> None:
    """Run one cell to its end, or on from its newest checkpoint."""
    with one_line_errors():
        from adaswitch.io.config_files import load_config
        from adaswitch.io.run_directory import append_record, read_records, write_atomically
        from experiments.work import ATTEMPTS_FILE, FINISHED_FILE

        started_s = time.perf_counter()
        settings = load_config(config)
        should_stop = StopRequest(patient=local is None).install()
        if local is not None:
            from experiments.local import train_locally

            complete = train_locally(settings, should_stop, local)
        else:
            from adaswitch.io.launch import LocalRun

            run = LocalRun(settings, lambda line: print(line, flush=True))
            complete = run.execute(should_stop, lambda: None)
        attempt = {"wall_s": time.perf_counter() - started_s, "cpu_s": _cpu_seconds()}
        append_record(config.parent / ATTEMPTS_FILE, attempt)
        if not complete:
            raise SystemExit(INTERRUPTED)
        attempts = list(read_records(config.parent / ATTEMPTS_FILE))
        record = {name: sum(attempt[name] for attempt in attempts) for name in ("wall_s", "cpu_s")}
        write_atomically(config.parent / FINISHED_FILE, json.dumps(record).encode())


def _cpu_seconds() -> float:
    """Of this process, and of the ones that it started and has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(
        epilog="Example: python -m experiments.cell --config runs/demo-warm/skd-seed1/cell.yaml --local transformers"
    )(main)
    app()
