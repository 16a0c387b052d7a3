"""What a comparison's cells came to, read from their run directories."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from adaswitch.errors import DataError
from adaswitch.runs.directory import RunDirectory, read_records
from experiments.evaluated import Evaluated, Unmarked, read_evaluated
from experiments.plan import Cell, Plan
from experiments.work import FINISHED_FILE, Evaluating, Training

TOKENS = ("student_tokens", "teacher_tokens", "scored_tokens", "wasted_tokens")


@dataclass(frozen=True)
class CellResult:
    """One complete cell. ``curves`` are by (split, metric): the steps of the evaluations and their values."""

    method: str
    seed: int
    folder: Path
    """Its run directory."""
    curves: dict[tuple[str, str], list[tuple[int, float]]]
    unmarked: dict[str, dict[int, Unmarked]]
    """By split, then by the step of the evaluation."""
    tokens: dict[str, int]
    tokens_by_step: list[int]
    """``[steps + 1]``: tokens that the teacher worked on up to a step, those generated and those scored."""
    switch_rates: list[float]
    """``[steps]``."""
    switch_positions: list[float | None]
    """``[steps]``, in tokens; None for a step without a switch."""
    train_s: float
    """Seconds of all steps, without evaluations."""
    evaluations: dict[str, Evaluated]
    """By the plan's name."""
    wall_s: float
    """Seconds of all attempts but those that were killed, with start and evaluations on the way."""
    cpu_s: float
    """Of the same attempts: of their processes, and of those that they started."""

    def final(self, split: str, metric: str) -> float | None:
        """The value after the last step, None where it was never measured, or nothing could be marked."""
        curve = self.curves.get((split, metric))
        # An earlier evaluation's value is not the last one's.
        return curve[-1][1] if curve and curve[-1][0] == max(self.unmarked[split]) else None

    def at_teacher_tokens(self, split: str, metric: str, num_tokens: float) -> float | None:
        """The value once the teacher had worked on ``num_tokens``, on the line between two evaluations."""
        curve = self.curves.get((split, metric))
        if not curve or num_tokens > self.tokens_by_step[-1]:
            return None
        spent = [self.tokens_by_step[step] for step, _ in curve]
        return float(np.interp(num_tokens, spent, [value for _, value in curve]))


@dataclass(frozen=True)
class Results:
    """All cells that are complete, by method and seed."""

    plan: Plan
    cells: dict[str, dict[int, CellResult]] = field(default_factory=dict)

    def measured(self) -> list[tuple[str, str]]:
        """The splits and metrics that any cell has a value of, in the order of the first cell's record."""
        cells = [cell for by_seed in self.cells.values() for cell in by_seed.values()]
        return list(dict.fromkeys(key for cell in cells for key in cell.curves))

    def values(self, method: str, value: Callable[[CellResult], float | None]) -> dict[int, float]:
        """``value`` of each of the method's cells that has one, by seed."""
        found = {seed: value(cell) for seed, cell in self.cells.get(method, {}).items()}
        return {seed: number for seed, number in found.items() if number is not None}

    def common_teacher_tokens(self) -> float:
        """The most tokens of the teacher's that every method's every cell came to; 0 if one needs no teacher."""
        return min(
            (float(cell.tokens_by_step[-1]) for by_seed in self.cells.values() for cell in by_seed.values()),
            default=0.0,
        )


def read_results(plan: Plan, cells: Sequence[Cell]) -> Results:
    """The results of ``cells``, those that are not complete left out."""
    found: dict[str, dict[int, CellResult]] = {method: {} for method in plan.methods}
    for cell in cells:
        training = Training(cell)
        if training.result.is_file():
            training.require_same_settings()
            found[cell.method][cell.seed] = _read(plan, cell)
    return Results(plan, found)


def _read(plan: Plan, cell: Cell) -> CellResult:
    try:
        return _read_whole(plan, cell)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"its records are damaged ({error}): remove it, and it is run again", source=str(cell.folder)
        ) from None


def _read_whole(plan: Plan, cell: Cell) -> CellResult:
    run = RunDirectory.open(cell.folder)
    steps = list(read_records(run.metrics))
    evals = list(read_records(run.evals))
    spent = [step["teacher_tokens"] + step["scored_tokens"] for step in steps]
    wall_s, cpu_s = _whole_cost(cell.folder / FINISHED_FILE)
    return CellResult(
        method=cell.method,
        seed=cell.seed,
        folder=cell.folder,
        curves=_curves(evals),
        unmarked=_unmarked(evals),
        tokens={name: sum(step[name] for step in steps) for name in TOKENS},
        tokens_by_step=list(accumulate(spent, initial=0)),
        switch_rates=[step["switch_rate"] for step in steps],
        switch_positions=[step["mean_switch_position"] for step in steps],
        train_s=sum(step["step_s"] for step in steps),
        evaluations=_evaluations(plan, cell),
        wall_s=wall_s,
        cpu_s=cpu_s,
    )


def _evaluations(plan: Plan, cell: Cell) -> dict[str, Evaluated]:
    """Those that are complete."""
    found = {}
    for label, settings in plan.evaluations.items():
        work = Evaluating(cell, label, settings)
        if work.result.is_file():
            work.require_same_settings()
            found[label] = read_evaluated(work.folder)
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
        if record["value"] is not None:
            curve = curves.setdefault((record["split"], record["metric"]), [])
            curve.append((record["step"], record["value"]))
    return curves


def _unmarked(records: Sequence[dict[str, Any]]) -> dict[str, dict[int, Unmarked]]:
    """The same for each of a split's metrics: a completion is marked by all or by none. Older runs do not say."""
    found: dict[str, dict[int, Unmarked]] = {}
    for record in records:
        unmarked = record.get("unmarked") or 0
        of_step = Unmarked(unmarked, record["n"] + unmarked)
        found.setdefault(record["split"], {})[record["step"]] = of_step
    return found
