"""Shows the progress of a local run on the screen, and its figures at the end."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from adaswitch.commands.launch import LocalRun
from adaswitch.config.run import RunConfig
from adaswitch.processes.entry import interrupting
from adaswitch.runs.directory import NUMBER, Fields, RunDirectory, read_records
from adaswitch.runs.run_health import check_run, print_conclusion, print_signatures
from adaswitch.runs.summary import EVAL_FIELDS, print_summary, summarise
from adaswitch.runs.words import RUN, go_on_command, run_of, what_is_saved
from adaswitch.tasks.scores import describe

STEP_FIELDS: Fields = dict.fromkeys(("step", "loss", "switch_rate", "step_s"), NUMBER)
PLAIN_EVERY_S = 5.0
"""The seconds between two printed lines if there is no terminal."""


def follow_local_run(config: RunConfig, should_stop: Callable[[], bool]) -> bool:
    """Execute ``config`` on this machine. Returns whether the run came to its end."""
    console = Console()
    started_s = time.monotonic()
    try:
        with interrupting(should_stop):  # The checks of a run take seconds and look for no request.
            local = LocalRun(config, lambda line: _say(console, line))
    except KeyboardInterrupt:
        _say_stopped(console, config)
        return False
    with _saying_if_nobody_reads(config), _progress(console) as progress:
        display = _Display(local.run, config.trainer.num_steps, progress, console)
        complete = local.execute(should_stop, display.refresh)
        display.refresh()
    summary = summarise(local.run)
    if summary is not None:
        print_summary(local.run, summary, local.seconds, console)
        _print_verdict(local.run, console)
    console.print(f"total {time.monotonic() - started_s:.0f} s", highlight=False)
    if not complete:
        _say_stopped(console, config)
    return complete


def _print_verdict(run: RunDirectory, console: Console) -> None:
    """What the switch shows, and last what the run came to, in sentences."""
    check_up = check_run(run.path)
    print_signatures(check_up.found, console)
    console.print("\n[bold]What came of it[/bold]")
    print_conclusion(check_up.conclusion, console)


@contextmanager
def _saying_if_nobody_reads(config: RunConfig) -> Iterator[None]:
    """Say on stderr how the run ended, if it ended because its output was closed, as ``| head`` does."""
    try:
        yield
    except SystemExit:  # so rich ends the program
        for line in ("stopped, because nobody reads what is printed", *_stopped_lines(config)):
            print(line, file=sys.stderr, flush=True)
        raise


def _say_stopped(console: Console, config: RunConfig) -> None:
    saved, go_on = _stopped_lines(config)
    _say(console, f"stopped; {saved}")
    _say(console, go_on)


def _stopped_lines(config: RunConfig) -> tuple[str, str]:
    return what_is_saved(run_of(config)), f"go on with: {go_on_command(config, RUN)}"


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        disable=not console.is_terminal,
    )


class _Display:
    """Shows what a run directory records: a bar in a terminal, lines elsewhere, and a line for every evaluation."""

    def __init__(self, run: RunDirectory, num_steps: int, progress: Progress, console: Console) -> None:
        self._run = run
        self._num_steps = num_steps
        self._progress = progress
        self._console = console
        self._task = progress.add_task("training", total=num_steps, figures="waiting for the first step")
        self._num_evals = len(list(read_records(run.evals, EVAL_FIELDS)))
        self._metrics_size = -1
        self._printed_s = 0.0

    def refresh(self) -> None:
        """Show the records that are new since the last call."""
        evals = list(read_records(self._run.evals, EVAL_FIELDS))
        for record in evals[self._num_evals :]:
            words = describe(
                record["split"],
                record["metric"],
                record.get("value"),
                record["n"],
                record.get("unmarked") or 0,
            )
            self._console.print(f"after {record['step']} steps: {words}", highlight=False, markup=False)
            for hint in record.get("hints") or []:
                self._console.print(f"note: {hint}", highlight=False, markup=False, soft_wrap=True)
        self._num_evals = len(evals)
        size = self._run.metrics.stat().st_size if self._run.metrics.is_file() else -1
        if size == self._metrics_size:
            return
        self._metrics_size = size
        self._show_steps()

    def _show_steps(self) -> None:
        records = list(read_records(self._run.metrics, STEP_FIELDS))
        if not records:
            return
        newest = records[len(records) - 1]
        figures = (
            f"loss {newest['loss']:.3f}  switched {newest['switch_rate']:.0%}  {newest['step_s']:.2f} s/step"
        )
        self._progress.update(self._task, completed=newest["step"] + 1, figures=figures)
        now_s = time.monotonic()
        if not self._console.is_terminal and now_s - self._printed_s >= PLAIN_EVERY_S:
            self._printed_s = now_s
            self._console.print(f"step {newest['step'] + 1}/{self._num_steps}  {figures}", highlight=False)
