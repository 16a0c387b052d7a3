"""Shows the progress of a local run on the screen, and its figures at the end."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from adaswitch.commands.display import Display
from adaswitch.commands.launch import LocalRun
from adaswitch.config.run import RunConfig
from adaswitch.processes.entry import interrupting
from adaswitch.processes.progress import bars, working
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.run_health import check_run, print_conclusion, print_signatures
from adaswitch.runs.summary import print_summary, summarise
from adaswitch.runs.words import RUN, go_on_command, next_commands, run_of, what_is_saved


def follow_local_run(config: RunConfig, should_stop: Callable[[], bool], command: str | None = None) -> bool:
    """Execute ``config`` on this machine. Returns whether the run came to its end.

    ``command`` is what goes on with the run, for people; by default it is ``adaswitch run``.
    """
    command = command or go_on_command(config, RUN)
    console = Console()
    started_s = time.monotonic()
    try:
        # The checks of a run take seconds and look for no request.
        with interrupting(should_stop), working(console, "checking settings, data and models"):
            local = LocalRun(config, lambda line: _say(console, line), command)
    except KeyboardInterrupt:
        _say_stopped(console, config, command)
        return False
    with _saying_if_nobody_reads(config, command), bars(console) as progress:
        display = Display(local, config, progress, console)
        complete = local.execute(should_stop, display.refresh)
        display.refresh()
    summary = summarise(local.run)
    if summary is not None:
        print_summary(local.run, summary, local.seconds, console)
        _print_verdict(local.run, console)
    console.print(f"total {time.monotonic() - started_s:.0f} s", highlight=False)
    if not complete:
        _say_stopped(console, config, command)
        return False
    for line in next_commands(config):
        _say(console, line)
    return True


def _print_verdict(run: RunDirectory, console: Console) -> None:
    """What the switch shows, and last what the run came to, in sentences."""
    check_up = check_run(run.path)
    print_signatures(check_up.found, console)
    console.print("\n[bold]What came of it[/bold]")
    print_conclusion(check_up.conclusion, console)


@contextmanager
def _saying_if_nobody_reads(config: RunConfig, command: str) -> Iterator[None]:
    """Say on stderr how the run ended, if it ended because its output was closed, as ``| head`` does."""
    try:
        yield
    except SystemExit:  # so rich ends the program
        for line in ("stopped, because nobody reads what is printed", *_stopped_lines(config, command)):
            print(line, file=sys.stderr, flush=True)
        raise


def _say_stopped(console: Console, config: RunConfig, command: str) -> None:
    saved, go_on = _stopped_lines(config, command)
    _say(console, f"stopped; {saved}")
    _say(console, go_on)


def _stopped_lines(config: RunConfig, command: str) -> tuple[str, str]:
    return what_is_saved(run_of(config)), f"go on with: {command}"


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
