"""What a comparison's folder holds: its plan and its cells, as far as they can be read."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.pages.reading import Problems
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import CONFIG_FILE, RunDirectory
from adaswitch.runs.overview import CELL_FILE, PLAN_FILE, RESULTS_FILE, is_comparison, is_run, row_of
from experiments.plan import FinalEvaluation, Plan, load_plan
from experiments.work import EVALUATION, FINISHED_FILE

CELL_NAME = re.compile(r"^(?P<method>.+)-seed(?P<seed>-?\d+)$")
PREFERRED = "adaswitch"
"""The reference where nothing says what the methods were compared with."""


@dataclass(frozen=True)
class FoundCell:
    """A cell of the comparison, whether it has begun or not."""

    method: str
    seed: int
    folder: Path
    config: RunConfig | None
    """The settings that it was begun with; None if it has not begun, or if they cannot be read."""

    @property
    def is_complete(self) -> bool:
        """Whether its training has come to its end."""
        return (self.folder / FINISHED_FILE).is_file()

    def row(self) -> dict[str, object]:
        """Where it stands."""
        words = {"method": self.method, "seed": self.seed}
        if not is_run(self.folder):
            return {**words, "state": "complete" if self.is_complete else "not begun", "words": ""}
        row = row_of(RunDirectory(self.folder), self.folder.parent)
        state = "complete" if self.is_complete else row.state
        total = "" if row.num_steps is None else f" of {row.num_steps:,}"
        return {**words, "state": state, "words": f"{row.step:,}{total} steps"}


@dataclass(frozen=True)
class Found:
    """A comparison in a folder."""

    folder: Path
    plan: Plan
    """The plan, or what the names of the cells' folders say of it."""
    plan_text: str
    """The file of the plan as it is; empty if there is none."""
    cells: Sequence[FoundCell]
    kept: Mapping[str, Any] = field(default_factory=dict)
    """What ``results.json`` holds; empty if it is not there."""

    def of_method(self, method: str) -> list[FoundCell]:
        """The method's cells, in the order of the plan's seeds."""
        return [cell for cell in self.cells if cell.method == method]


def find(folder: Path, problems: Problems) -> Found:
    """What ``folder`` holds. Raises ``DataError`` if nothing there says that it is a comparison's."""
    if not is_comparison(folder):
        raise DataError(
            f"no comparison is here (no {PLAN_FILE}, no cells with their {CELL_FILE})", source=str(folder)
        )
    kept = problems.without(lambda: _kept_results(folder / RESULTS_FILE), dict[str, Any]())
    folders = _cell_folders(folder)
    plan = problems.without(lambda: _kept_plan(folder / PLAN_FILE), None)
    if plan is None:
        problems.add(f"methods and seeds are read off the names of folders, for want of {PLAN_FILE}")
        plan = _plan_of(folder, folders, kept)
    found = [
        _cell(method, seed, folders.pop((method, seed), folder / f"{method}-seed{seed}"), problems)
        for method in plan.methods
        for seed in plan.seeds
    ]
    for other in folders.values():
        problems.add(f"{other}: of no method and seed of the plan, and left out")
    return Found(folder, plan, _text(folder / PLAN_FILE), found, kept)


def _kept_plan(path: Path) -> Plan:
    if not path.is_file():
        raise DataError("it is not there, as in comparisons of older versions", source=str(path))
    return load_plan(path)


def _kept_results(path: Path) -> dict[str, Any]:
    """The document that the comparison wrote at its end; empty if it has not come to one."""
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise DataError("damaged; adaswitch compare --report-only writes it again", source=str(path))
    return document


def _cell_folders(folder: Path) -> dict[tuple[str, int], Path]:
    """The folders of cells that have begun, by method and seed."""
    found = {}
    for path in sorted(folder.glob("*/")):
        name = CELL_NAME.match(path.name)
        if name is not None and (is_run(path) or (path / CELL_FILE).is_file()):
            found[name["method"], int(name["seed"])] = path
    return found


def _plan_of(folder: Path, folders: Mapping[tuple[str, int], Path], kept: Mapping[str, Any]) -> Plan:
    """What is known of the plan without its file."""
    rows = [row for name in ("costs", "rows") for row in _dicts(kept.get(name))]
    methods = dict.fromkeys(str(row["method"]) for row in rows if "method" in row)
    methods |= dict.fromkeys(method for method, _ in folders)
    seeds = {seed for _, seed in folders} or {seed for seed in _list(kept.get("seeds")) if type(seed) is int}
    known = [name for name in (kept.get("reference"), PREFERRED, *methods) if name in methods]
    labels = {path.name.removeprefix(EVALUATION) for path in folder.glob(f"*/{EVALUATION}*/")}
    # Nothing is checked here: a folder may have a name that no plan may have.
    return Plan.model_construct(
        name=folder.resolve().name,
        base="",
        seeds=sorted(seeds),
        methods={method: {} for method in methods},
        evaluations={label: FinalEvaluation() for label in sorted(labels)},
        reference=known[0] if known else PREFERRED,
    )


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _cell(method: str, seed: int, folder: Path, problems: Problems) -> FoundCell:
    config = None
    if folder.is_dir():
        file = folder / CELL_FILE if (folder / CELL_FILE).is_file() else folder / CONFIG_FILE
        try:
            config = load_config(file)
        except ConfigError as error:
            problems.add(f"{file}: these settings are damaged, or of another version: {error}")
    return FoundCell(method, seed, folder, config)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
