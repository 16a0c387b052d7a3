"""``adaswitch runs``, ``report`` and ``doctor RUN``: what run directories say, for people."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adaswitch.errors import DataError
from adaswitch.runs import run_health
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.overview import UNKNOWN, RunRow, row_of, run_directories, status_lines
from adaswitch.runs.status import DIED, Phase
from adaswitch.runs.summary import print_summary, summarise

STYLES = {Phase.COMPLETE.value: "green", Phase.FAILED.value: "bold red", DIED: "bold red", UNKNOWN: "dim"}
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def show_runs(runs_dir: Path, console: Console) -> None:
    """Print a table of the runs in ``runs_dir``. It fits 80 columns. Raises ``DataError`` if there is no folder."""
    rows = [row_of(run, runs_dir) for run in run_directories(runs_dir)]
    if not rows:
        console.print(Text(f"no runs in {runs_dir} yet"), soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold cyan")
    table.add_column("run", overflow="fold", min_width=8)
    table.add_column("policy", overflow="fold", max_width=14)
    table.add_column("state")
    for header in ("step", "score", "updated"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, time.time()))
    console.print(table)


def _cells(row: RunRow, now_s: float) -> tuple[Text, ...]:
    of = UNKNOWN if row.num_steps is None else str(row.num_steps)
    return (
        Text(row.name),
        Text(row.policy),
        Text(row.state, style=STYLES.get(row.state, "")),
        Text(f"{row.step}/{of}"),
        Text("-" if row.score is None else f"{row.score:.1%}"),
        Text(_ago(now_s - row.updated_s)),
    )


def _ago(seconds: float) -> str:
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def show_report(path: Path, console: Console) -> None:
    """Print where the run at ``path`` stands, and its figures. Raises ``DataError`` if there is neither."""
    run = RunDirectory.open(path)
    has_status = _print_status(run, console)
    summary = summarise(run)
    if summary is not None:
        print_summary(run, summary, {}, console)
        return
    if not has_status:
        raise DataError(run_health.NO_STEP, source=str(path))
    console.print("No figures: this run has not done a step yet.", highlight=False)


def show_health(path: Path, console: Console) -> None:
    """Print where the run at ``path`` stands, and whether its switching is healthy. Raises ``DataError``."""
    run = RunDirectory.open(path)
    has_status = _print_status(run, console)
    steps = run_health.read_steps(run)
    if not steps and not has_status:
        raise DataError(run_health.NO_STEP, source=str(path))
    if not steps:
        console.print(Text(f"Nothing can be said of the switch: {run_health.NO_STEP}.", style="bold"))
        return
    run_health.render(run_health.check_steps(run, steps), console)


def _print_status(run: RunDirectory, console: Console) -> bool:
    lines = status_lines(run)
    for number, line in enumerate(lines):
        style = STYLES.get(line.split()[0].rstrip(":"), "bold") if number == 0 else ""
        console.print(Text(line, style=style), soft_wrap=True)
    return bool(lines)
