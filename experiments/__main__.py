"""``python -m experiments``, or ``adaswitch compare``: runs a plan's cells, then writes the table and the pictures."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaswitch.processes.entry import INTERRUPTED, StopRequest, one_line_errors
from experiments.engines import LocalEngine

if TYPE_CHECKING:
    from experiments.plan import Cell, Plan
    from experiments.work import Work

STOPPING = "stopping: each run under way saves what was trained, then all ends; once more ends at once, without saving"
EXAMPLE = "Example: adaswitch compare --plan experiments/plans/demo-warm.yaml --local --jobs 2"


def _print_schema(asked: bool) -> None:
    if asked:
        import json

        from experiments.plan import Plan

        print(json.dumps(Plan.model_json_schema(), indent=2))
        raise typer.Exit


def main(
    plan: Annotated[Path, typer.Option(help="YAML file that says what is compared.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings for every cell, as key.path=value.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Run teacher and student in one process: no HTTP, no Ray.")
    ] = False,
    engine: Annotated[
        LocalEngine, typer.Option(help="Engine of the teacher with --local; vllm is for large teachers.")
    ] = "transformers",
    jobs: Annotated[
        int, typer.Option(min=1, help="Cells that run at once; more than one needs --local.")
    ] = 1,
    methods: Annotated[
        str,
        typer.Option(
            help="Run only these of the plan's methods, separated by commas, and the reference method."
        ),
    ] = "",
    seeds: Annotated[str, typer.Option(help="Run only these of the plan's seeds, separated by commas.")] = "",
    schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            callback=_print_schema,
            is_eager=True,
            help="Print the JSON schema of a plan, for editors.",
        ),
    ] = False,
    report_only: Annotated[
        bool,
        typer.Option("--report-only", help="Run nothing; write the table and pictures of complete cells."),
    ] = False,
) -> None:
    """Run every method with every seed, or continue an interrupted call; then write the table and the pictures."""
    with one_line_errors():
        from adaswitch.errors import ConfigError
        from experiments.plan import cells, load_plan, only

        if jobs > 1 and not local:
            raise ConfigError("--jobs: served runs use the whole machine; more at once need --local")
        settings = load_plan(plan, overrides or [])
        chosen = only(settings, methods, seeds)
        complete = True if report_only else _run(chosen, engine if local else None, jobs)
        _report(settings, cells(settings))
        if not complete:
            raise SystemExit(INTERRUPTED)


def _run(plan: "Plan", local: LocalEngine | None, jobs: int) -> bool:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from experiments.plan import cells
    from experiments.preflight import require_data
    from experiments.runner import run_all
    from experiments.work import all_work

    work = all_work(plan, cells(plan), local)
    require_data(plan, cells(plan), local)
    should_stop = StopRequest(patient=True, words=STOPPING).install()
    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(work))

        def show(num_complete: int, running: "Sequence[Work]") -> None:
            progress.update(bar, completed=num_complete, description=", ".join(item.name for item in running))

        complete = run_all(work, jobs, should_stop, show)
        progress.update(bar, completed=len(work) if complete else None, description="")
    if not complete:
        saved = "" if should_stop.is_impatient else "what was trained is saved, and "
        print(f"stopped; {saved}the same command goes on from each run's newest checkpoint", flush=True)
    return complete


def _report(plan: "Plan", cells: "list[Cell]") -> None:
    from experiments.machine import machine
    from experiments.report import write_report
    from experiments.results import read_results

    results = read_results(plan, cells)
    folder = Path(plan.runs_dir) / plan.name
    if not any(results.cells.values()):
        print("no run is complete yet", flush=True)
        return
    for path in write_report(results, folder, machine()):
        print(os.fspath(path), flush=True)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(epilog=EXAMPLE)(main)
    app(prog_name="adaswitch compare")
