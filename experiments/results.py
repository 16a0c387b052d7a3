"""Reads the results of a comparison's cells from their run directories."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from adaswitch.errors import DataError
from adaswitch.runs.directory import NUMBER, NUMBER_OR_NONE, Fields, RunDirectory, read_records
from adaswitch.runs.summary import MARK_FIELDS
from experiments.evaluated import Evaluated, Unmarked, read_evaluated
from experiments.plan import Cell, Plan
from experiments.work import FINISHED_FILE, Evaluating, Training

TOKENS = ("student_tokens", "teacher_tokens", "scored_tokens", "wasted_tokens")
STEP_FIELDS: Fields = {
    **dict.fromkeys(("step", *TOKENS, "switch_rate", "step_s"), NUMBER),
    "mean_switch_position": NUMBER_OR_NONE,
}


@dataclass(frozen=True)
class CellResult:
    """The results of one complete cell. ``curves`` has, by (split, metric), the evaluated steps and their values."""

    method: str
    seed: int
    folder: Path
    """The cell's run directory."""
    curves: dict[tuple[str, str], list[tuple[int, float]]]
    unmarked: dict[str, dict[int, Unmarked]]
    """By split, then by the step of the evaluation: the completions that could not be marked."""
    tokens: dict[str, int]
    tokens_by_step: list[int]
    """``[steps + 1]``: tokens that the teacher has worked on up to each step, generated and scored together."""
    seconds_by_step: list[float]
    """``[steps + 1]``: seconds of all steps up to each step, without evaluations."""
    switch_rates: list[float]
    """``[steps]``: the share of rollouts with a switch."""
    switch_positions: list[float | None]
    """``[steps]``: the mean switch position in tokens; None for a step without a switch."""
    train_s: float
    """Seconds of all steps, without evaluations."""
    evaluations: dict[str, Evaluated]
    """The evaluations of the trained cell, by the name that the plan gives them."""
    wall_s: float
    """Wall-clock seconds of all attempts except killed ones, with start-up and the evaluations during training."""
    cpu_s: float
    """CPU seconds of the same attempts, and of all processes that they started."""

    def final(self, split: str, metric: str) -> float | None:
        """The value after the last step; None if it was never measured, or if nothing could be marked."""
        curve = self.curves.get((split, metric))
        # If nothing could be marked in the last evaluation, an earlier value must not stand in for it.
        return curve[-1][1] if curve and curve[-1][0] == max(self.unmarked[split]) else None

    def at_teacher_tokens(self, split: str, metric: str, num_tokens: float) -> float | None:
        """The value once the teacher had worked on ``num_tokens``, interpolated between two evaluations.

        None if nothing was measured, or if the teacher never worked on so many tokens.
        """
        curve = self.curves.get((split, metric))
        if not curve or num_tokens > self.tokens_by_step[-1]:
            return None
        spent = [self.tokens_by_step[step] for step, _ in curve]
        return float(np.interp(num_tokens, spent, [value for _, value in curve]))


@dataclass(frozen=True)
class Results:
    """The results of all complete cells, by method and seed."""

    plan: Plan
    cells: dict[str, dict[int, CellResult]] = field(default_factory=dict)

    def measured(self) -> list[tuple[str, str]]:
        """The splits and metrics that any cell has a value of, in the order in which the cells' records have them."""
        cells = [cell for by_seed in self.cells.values() for cell in by_seed.values()]
        return list(dict.fromkeys(key for cell in cells for key in cell.curves))

    def values(self, method: str, value: Callable[[CellResult], float | None]) -> dict[int, float]:
        """``value`` of each of the method's cells, by seed. Cells for which it is None are left out."""
        found = {seed: value(cell) for seed, cell in self.cells.get(method, {}).items()}
        return {seed: number for seed, number in found.items() if number is not None}

    def common_teacher_tokens(self) -> float:
        """The number of teacher tokens that every cell of every method reached; 0 if a method needs no teacher."""
        return min(
            (float(cell.tokens_by_step[-1]) for by_seed in self.cells.values() for cell in by_seed.values()),
            default=0.0,
        )


def read_results(plan: Plan, cells: Sequence[Cell]) -> Results:
    """The results of ``cells``. Cells that are not complete are left out."""
    found: dict[str, dict[int, CellResult]] = {method: {} for method in plan.methods}
    for cell in cells:
        training = Training(cell)
        if training.result.is_file():
            training.require_same_settings()
            found[cell.method][cell.seed] = _read(plan, cell)
    return Results(plan, found)


def _read(plan: Plan, cell: Cell) -> CellResult:
    return read_cell(cell.method, cell.seed, cell.folder, _evaluations(plan, cell))


def read_cell(method: str, seed: int, folder: Path, evaluations: Mapping[str, Path]) -> CellResult:
    """The results of the complete cell in ``folder``. ``evaluations`` are the folders of its own, by their names.

    Raises ``DataError`` if its records are damaged.
    """
    try:
        return _read_whole(method, seed, folder, evaluations)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"its records are damaged ({error}): remove it, and it is run again", source=str(folder)
        ) from None


def _read_whole(method: str, seed: int, folder: Path, evaluations: Mapping[str, Path]) -> CellResult:
    run = RunDirectory.open(folder)
    steps = list(read_records(run.metrics, STEP_FIELDS))
    evals = list(read_records(run.evals, MARK_FIELDS))
    _require_steps(steps, evals, folder)
    spent = [step["teacher_tokens"] + step["scored_tokens"] for step in steps]
    wall_s, cpu_s = _whole_cost(folder / FINISHED_FILE)
    return CellResult(
        method=method,
        seed=seed,
        folder=folder,
        curves=_curves(evals),
        unmarked=_unmarked(evals),
        tokens={name: sum(step[name] for step in steps) for name in TOKENS},
        tokens_by_step=list(accumulate(spent, initial=0)),
        seconds_by_step=list(accumulate((step["step_s"] for step in steps), initial=0.0)),
        switch_rates=[step["switch_rate"] for step in steps],
        switch_positions=[step.get("mean_switch_position") for step in steps],
        train_s=sum(step["step_s"] for step in steps),
        evaluations={label: read_evaluated(place) for label, place in evaluations.items()},
        wall_s=wall_s,
        cpu_s=cpu_s,
    )


def _require_steps(steps: Sequence[dict[str, Any]], evals: Sequence[dict[str, Any]], folder: Path) -> None:
    """Raises ``DataError`` unless there are steps, and every evaluation is of one of them."""
    known = range(len(steps) + 1)
    outside = [record["step"] for record in evals if record["step"] not in known]
    if steps and not outside:
        return
    what = f"an evaluation is of step {outside[0]} of {len(steps)}" if outside else "no step is on record"
    raise DataError(f"its records are damaged ({what}): remove it, and it is run again", source=str(folder))


def _evaluations(plan: Plan, cell: Cell) -> dict[str, Path]:
    """The folders of the complete evaluations of the trained ``cell``, by the name that the plan gives them."""
    found = {}
    for label, settings in plan.evaluations.items():
        work = Evaluating(cell, label, settings)
        if work.result.is_file():
            work.require_same_settings()
            found[label] = work.folder
    return found


def _whole_cost(finished: Path) -> tuple[float, float]:
    """Wall and CPU seconds of all attempts."""
    try:
        record = json.loads(finished.read_text(encoding="utf-8"))
        return float(record["wall_s"]), float(record["cpu_s"])
    except (ValueError, KeyError, TypeError):
        raise DataError("damaged; remove it, and the run is looked at again", source=str(finished)) from None


def _curves(records: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    curves: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for record in records:
        if (value := record.get("value")) is not None:
            curve = curves.setdefault((record["split"], record["metric"]), [])
            curve.append((int(record["step"]), value))
    return curves


def _unmarked(records: Sequence[dict[str, Any]]) -> dict[str, dict[int, Unmarked]]:
    """The completions that could not be marked, by split and step. Older runs do not record them: they count as 0.

    All metrics of a split have the same number, as a completion is marked by all of them or by none.
    """
    found: dict[str, dict[int, Unmarked]] = {}
    for record in records:
        unmarked = record.get("unmarked") or 0
        of_step = Unmarked(unmarked, record["n"] + unmarked)
        found.setdefault(record["split"], {})[int(record["step"])] = of_step
    return found
