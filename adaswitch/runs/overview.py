"""All runs of a folder at a glance, and the lines that say where one run stands."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from adaswitch.errors import DataError, UserError
from adaswitch.runs.config_files import read_yaml
from adaswitch.runs.directory import CONFIG_FILE, NUMBER, NUMBER_OR_NONE, RunDirectory, read_records
from adaswitch.runs.status import DIED, Phase, Status, read_status, seconds_of
from adaswitch.runs.words import place_overrides

UNKNOWN = "?"
PLAN_FILE = "plan.yaml"
"""The plan of a comparison, in its folder."""
CELL_FILE = "cell.yaml"
"""The settings of one cell of a comparison, in its run directory."""
TABLE_FILE, RESULTS_FILE = "table.md", "results.json"
"""What a comparison writes into its folder at its end, for people and for programs."""


@dataclass(frozen=True)
class RunRow:
    """What the table says of one run."""

    name: str
    policy: str
    state: str
    """The phase; ``died`` for a run whose process is gone without a word, ``?`` for a run without a readable status."""
    step: int
    num_steps: int | None
    score: float | None
    """The main metric in the newest evaluation, from 0 to 1; None without an evaluation."""
    updated_s: float
    """The time of the last sign of life, in seconds since 1970."""


def run_directories(runs_dir: Path) -> list[RunDirectory]:
    """The runs in ``runs_dir`` by name, also those of a comparison, which stand one folder lower.

    A run that has lost its config.yaml is one as well. Raises ``DataError`` if there is no such folder.
    """
    if not runs_dir.is_dir():
        raise DataError(
            "there is no such folder; name the one that holds the runs, or begin one: adaswitch demo",
            source=str(runs_dir),
        )
    found: list[RunDirectory] = []
    for folder in sorted(path for path in runs_dir.iterdir() if path.is_dir()):
        if is_run(folder):
            found.append(RunDirectory(folder))
        else:
            found += [RunDirectory(path) for path in sorted(folder.glob("*/")) if is_run(path)]
    return found


def is_run(folder: Path) -> bool:
    """Whether anything in ``folder`` says that it is a run, be it without its settings."""
    run = RunDirectory(folder)
    return any(path.is_file() for path in (folder / CONFIG_FILE, run.status, run.metrics))


def is_comparison(folder: Path) -> bool:
    """Whether ``folder`` is that of a comparison: has its plan, one of its cells, or what it came to."""
    return (
        (folder / PLAN_FILE).is_file()
        or any(folder.glob(f"*/{CELL_FILE}"))
        or all((folder / name).is_file() for name in (TABLE_FILE, RESULTS_FILE))
    )


def row_of(run: RunDirectory, runs_dir: Path) -> RunRow:
    """The row of ``run``. What cannot be read leaves a question mark, so that one damaged run hides no other."""
    status = _status_or_none(run)
    policy, num_steps = _settings(run)
    steps = run.checkpoint_steps()
    return RunRow(
        name=str(run.path.relative_to(runs_dir)),
        policy=policy,
        state=UNKNOWN if status is None else status.state,
        step=status.step if status is not None else steps[-1] if steps else 0,
        num_steps=status.num_steps if status is not None else num_steps,
        score=_newest_score(run),
        updated_s=_last_sign_s(run) if status is None else seconds_of(status.updated),
    )


def _status_or_none(run: RunDirectory) -> Status | None:
    try:
        return read_status(run)
    except DataError:
        return None


def _settings(run: RunDirectory) -> tuple[str, int | None]:
    """The kind of the policy, or the path of a user's own, and the number of steps."""
    try:
        document: dict[str, dict[str, object]] = read_yaml(run.path / CONFIG_FILE)  # type: ignore[assignment]
        policy, num_steps = document["policy"], document["trainer"]["num_steps"]
        name = policy["path"] if policy["kind"] == "custom" else policy["kind"]
        return str(name), num_steps if isinstance(num_steps, int) else None
    except (AttributeError, KeyError, TypeError, UserError):
        return UNKNOWN, None


def _newest_score(run: RunDirectory) -> float | None:
    try:
        records = list(read_records(run.evals, {"step": NUMBER, "value": NUMBER_OR_NONE}))
    except DataError:
        return None
    newest = [record for record in records if record["step"] == records[-1]["step"]]
    return newest[0].get("value") if newest else None


def _last_sign_s(run: RunDirectory) -> float:
    return max(
        (path.stat().st_mtime for path in (run.path, run.metrics, run.evals) if path.exists()), default=0.0
    )


def status_lines(run: RunDirectory) -> list[str]:
    """Where ``run`` stands, why it ended if it did, and how to go on. Empty for a run of an older version.

    A status that is damaged is named, and hides nothing else of the run.
    """
    try:
        status = read_status(run)
    except DataError as error:
        return [f"unknown, because of a damaged status: {error}"]
    if status is None:
        return []
    go_on = f"go on with: {_command(run, status)}"
    how_far = f"{status.step} of {status.num_steps} steps, attempt {status.attempt}, {status.updated}"
    if status.phase is Phase.COMPLETE:
        return [f"complete: {how_far}"]
    if status.state == DIED:
        died = f"died without a word while {status.phase}: {how_far}; its process {status.pid} is gone"
        return [died, go_on]
    if not status.phase.is_end:
        return [f"{status.phase}: {how_far}, process {status.pid} on {status.host}"]
    during = f" while {status.during}" if status.during else ""
    return [f"{status.phase}{during}: {how_far}", f"why: {status.why}", go_on]


def _command(run: RunDirectory, status: Status) -> str:
    """The command that goes on with ``run`` from here, also if the run was moved or copied."""
    program, is_command, _ = status.command.partition(" --config ")
    try:
        overrides = place_overrides(run, run.settings())
    except DataError:
        return status.command
    if not overrides or not is_command:
        return status.command
    return f"{program} --config {shlex.quote(str(run.path / CONFIG_FILE))} {overrides}"
