"""All that the page of a comparison shows, in the parts that the page is made of."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adaswitch.errors import AdaSwitchError
from adaswitch.pages.document import ROLLOUT_BYTES
from adaswitch.pages.reading import Problems
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.environment import kept_environment
from adaswitch.runs.overview import RESULTS_FILE, is_run
from experiments.page.curves import curves_of
from experiments.page.found import Found, FoundCell, find
from experiments.page.marks import tables_of
from experiments.page.rollouts import rollouts_by_method
from experiments.page.settings import settings_by_method
from experiments.results import CellResult, Results, read_cell
from experiments.tables import as_json
from experiments.work import EVALUATION

Part = dict[str, Any]
NO_TABLES: Part = {
    "tables": [],
    "meaning": "",
    "costs": {"heads": [], "rows": [], "note": ""},
    "quality": {"costs": [], "marks": [], "points": []},
}


def comparison_parts(
    folder: Path, say: Callable[[str], None] = lambda words: None, rollout_bytes: int = ROLLOUT_BYTES
) -> dict[str, Part]:
    """All parts of the page of the comparison in ``folder``. ``say`` is told what is being done, for people.

    What cannot be read is left out, and noted in the parts' ``problems``. Raises ``DataError`` for a folder that is
    not a comparison's.
    """
    problems = Problems()
    say("reading the plan and the cells")
    found = find(folder, problems)
    results = _results(found, problems)
    figures = {
        **_head(found),
        **_tables(found, results, problems),
        "curves": curves_of(results),
        "settings": settings_by_method(found),
        "environment": _environment(found, problems),
        "problems": problems.lines,
    }
    return {"figures": figures, "rollouts": rollouts_by_method(found, rollout_bytes, say)}


def _results(found: Found, problems: Problems) -> Results:
    """The results of the cells that are complete and can be read."""
    cells: dict[str, dict[int, CellResult]] = {method: {} for method in found.plan.methods}
    for cell in found.cells:
        if cell.is_complete:
            result = problems.without(lambda c=cell: _result(c), None)  # type: ignore[misc]
            if result is not None:
                cells[cell.method][cell.seed] = result
    return Results(found.plan, cells)


def _result(cell: FoundCell) -> CellResult:
    return read_cell(cell.method, cell.seed, cell.folder, _evaluations(cell))


def _evaluations(cell: FoundCell) -> Mapping[str, Path]:
    """The folders of the cell's complete evaluations, by their names."""
    found = sorted(path.parent for path in cell.folder.glob(f"{EVALUATION}*/{RESULTS_FILE}"))
    return {path.name.removeprefix(EVALUATION): path for path in found}


def _head(found: Found) -> Part:
    """What the comparison is, and where it stands."""
    plan = found.plan
    num_complete = sum(cell.is_complete for cell in found.cells)
    return {
        "name": found.folder.resolve().name,
        "title": plan.title or plan.name,
        "reference": plan.reference,
        "methods": list(plan.methods),
        "seeds": plan.seeds,
        "base": plan.base,
        "num_complete": num_complete,
        "num_cells": len(found.cells),
        "cells": [cell.row() for cell in found.cells],
    }


def _tables(found: Found, results: Results, problems: Problems) -> Part:
    """The tables of the cells; without any cell, those that the comparison wrote."""
    if any(results.cells.values()):
        return tables_of(as_json(results, ""))
    if not found.kept:
        return NO_TABLES
    try:
        tables = tables_of(found.kept)
    except (AttributeError, KeyError, TypeError, ValueError):
        problems.add(
            f"{found.folder / RESULTS_FILE}: damaged, or of another version: its tables are not shown"
        )
        return NO_TABLES
    problems.add(f"no complete cell can be read: the tables are those of {found.folder / RESULTS_FILE}")
    return tables


def _environment(found: Found, problems: Problems) -> dict[str, str]:
    """What the cells ran on. Where cells differ, each value with the cells that it is of."""
    values: dict[str, dict[str, list[str]]] = {}
    for cell in found.cells:
        if not is_run(cell.folder):
            continue
        try:
            kept = kept_environment(RunDirectory(cell.folder))
        except AdaSwitchError as error:
            problems.add(str(error))
            continue
        for name, value in kept.items():
            values.setdefault(name, {}).setdefault(value, []).append(cell.folder.name)
    if not values and isinstance(machine := found.kept.get("machine"), str):
        return {"machine of the report": machine}
    return {name: _in_words(by_value) for name, by_value in values.items()}


def _in_words(by_value: Mapping[str, list[str]]) -> str:
    """A single value as it is; of several, the most frequent one first, and each other one with its cells."""
    (first, _), *others = sorted(by_value.items(), key=lambda pair: -len(pair[1]))
    return "; ".join([first, *(f"{value} ({', '.join(names)})" for value, names in others)])
