"""``python -m experiments``, or ``adaswitch compare``: runs a plan's cells, then writes the table and the pictures."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaswitch.processes.entry import INTERRUPTED, StopRequest, one_line_errors
from experiments.engines import LocalEngine

if TYPE_CHECKING:
    from experiments.plan import Cell, Plan

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
        from experiments.needs import require_packages
        from experiments.plan import cells, load_plan, only

        require_packages()
        if jobs > 1 and not local:
            raise ConfigError("--jobs: served runs use the whole machine; more at once need --local")
        settings = load_plan(plan, overrides or [])
        chosen = only(settings, methods, seeds)
        complete = True if report_only else _run(settings, chosen, engine if local else None, jobs)
        _report(settings, cells(settings))
        if not complete:
            raise SystemExit(INTERRUPTED)


def _run(whole: "Plan", plan: "Plan", local: LocalEngine | None, jobs: int) -> bool:
    """Do the work of ``plan``, which is a part of ``whole``. Returns whether all of it is complete."""
    from rich.console import Console

    from adaswitch.processes.progress import working
    from experiments.plan import cells, comparison_folder, keep_plan
    from experiments.preflight import require_data
    from experiments.progress import ComparisonProgress
    from experiments.runner import run_all
    from experiments.work import all_work

    console = Console(stderr=True)
    work = all_work(plan, cells(plan), local)
    with working(console, "checking settings, data and models of all runs"):
        require_data(plan, cells(plan), local)
    keep_plan(whole)
    should_stop = StopRequest(patient=True, words=STOPPING).install()
    with ComparisonProgress(work, jobs, comparison_folder(plan), console) as progress:
        complete = run_all(work, jobs, should_stop, progress.show)
    if not complete:
        saved = "" if should_stop.is_impatient else "what was trained is saved, and "
        print(f"stopped; {saved}the same command goes on from each run's newest checkpoint", flush=True)
    return complete


def _report(plan: "Plan", cells: "list[Cell]") -> None:
    """Write the table, the pictures and the page of what is complete, and say where they are."""
    from rich.console import Console

    from adaswitch.commands.page import say_written
    from adaswitch.processes.progress import working
    from experiments.machine import machine
    from experiments.page.writing import write_comparison_page
    from experiments.plan import comparison_folder, keep_plan
    from experiments.report import write_report
    from experiments.results import read_results
    from experiments.screen import print_tables
    from experiments.tables import as_json

    results = read_results(plan, cells)
    folder = comparison_folder(plan)
    if not any(results.cells.values()):
        print("no run is complete yet", flush=True)
        return
    keep_plan(plan)
    for path in write_report(results, folder, machine()):
        print(os.fspath(path), flush=True)
    console = Console()
    with working(console, "writing the page"):
        written = write_comparison_page(folder)
    print_tables(as_json(results, ""), console)
    console.print()
    say_written(written.file, written.num_bytes, written.problems, console)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(epilog=EXAMPLE)(main)
    app(prog_name="adaswitch compare")
