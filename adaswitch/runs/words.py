"""What is said of a run, in the same words wherever it is said: what is saved, and how to go on."""

import shlex
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.errors import DataError
from adaswitch.runs.directory import CONFIG_FILE, NUMBER, RunDirectory, read_records

RUN = "adaswitch run"
TRAINER = "python -m trainer"
NOT_SAVED = "what was trained could not be saved: "
"""How the trainer begins the line on why it could not save, which the launcher looks for in its log."""


def run_of(config: RunConfig) -> RunDirectory:
    """The run directory of ``config``, which need not exist."""
    return RunDirectory(Path(config.runs_dir) / config.name)


def go_on_command(config: RunConfig, program: str) -> str:
    """The command line by which ``program`` goes on with the run of ``config``."""
    path = shlex.quote(str(run_of(config).path / CONFIG_FILE))
    return f"{program} --config {path}" + ("" if config.trainer.resume else " trainer.resume=true")


def next_commands(config: RunConfig) -> list[str]:
    """Three commands to go on with once the run of ``config`` is complete, a line each."""
    path = shlex.quote(str(run_of(config).path))
    serve = config.teacher.serve
    beside = "" if serve is None else f" --beside {shlex.quote(serve.model)}"
    return [
        f"look at it:   adaswitch page {path}",
        f"talk to it:   adaswitch chat {path}{beside}",
        f"take it away: adaswitch export {path} --to {shlex.quote(config.name)}-model",
    ]


def place_overrides(run: RunDirectory, config: RunConfig) -> str:
    """The overrides by which ``config``, which is of ``run``, means the folder of ``run``; empty if it does already."""
    path = run.path.resolve()
    if run_of(config).path.resolve() == path:
        return ""
    return f"name={shlex.quote(path.name)} runs_dir={shlex.quote(str(path.parent))}"


def what_is_saved(run: RunDirectory) -> str:
    """One sentence on what there is to go on from, and what was trained and is lost."""
    steps = run.checkpoint_steps()
    num_saved = steps[-1] if steps else 0
    num_lost = max(0, _num_trained(run) - num_saved)
    if steps:
        lost = f"; lost after it: {_steps(num_lost)}" if num_lost else ""
        return f"what was trained is saved in {run.checkpoint(num_saved)} ({_steps(num_saved)}){lost}"
    if num_lost:
        return (
            f"nothing is saved, because there was no checkpoint in {run.path} yet; lost: {_steps(num_lost)}"
        )
    return f"nothing was trained, so nothing is saved in {run.path}"


def _num_trained(run: RunDirectory) -> int:
    try:
        return max(
            (int(record["step"]) + 1 for record in read_records(run.metrics, {"step": NUMBER})), default=0
        )
    except DataError:  # Said where the records are needed.
        return 0


def _steps(number: int) -> str:
    return f"{number} step" if number == 1 else f"{number} steps"


def complete_words(config: RunConfig, steps: int) -> str:
    """One line on a run that is complete already, and on what can be done with it."""
    run = run_of(config)
    longer = f"{go_on_command(config, RUN)} trainer.num_steps={2 * max(steps, config.trainer.num_steps)}"
    if config.trainer.time_limit_s is not None and steps < config.trainer.num_steps:
        longer = f"{go_on_command(config, RUN)} trainer.time_limit_s={2 * config.trainer.time_limit_s:g}"
    return (
        f"{run.path} is complete after {_steps(steps)} ({run.checkpoint(steps)}); nothing is started. To train it "
        f"longer: {longer}. To begin another run: --new-name"
    )
