"""Pictures of a comparison, by matplotlib: marks against steps, against the teacher's tokens, and switching."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.intervals import interval, paired
from experiments.results import CellResult, Results

Line = list[tuple[float, float]]


def draw_comparison(results: Results, split: str, metric: str, path: Path) -> None:
    """Three panels: ``metric`` on ``split`` against steps, against teacher tokens, and the differences at the end.

    The lines are means over seeds. Most of the spread between runs comes from the seeds, which all methods share. So
    the third panel compares each method with the plan's reference seed by seed, with a 95 % interval.
    """
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    by_step, by_token, at_end = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    for number, (method, cells) in enumerate(results.cells.items()):
        curves = [cell.curves[split, metric] for cell in cells.values() if (split, metric) in cell.curves]
        if not curves:
            continue
        style = {"color": f"C{number % 10}", "linestyle": "-" if number < 10 else "--", "marker": "."}
        # Cells with a time limit do different numbers of steps: only steps that all cells have can be averaged.
        steps = sorted(set.intersection(*({step for step, _ in curve} for curve in curves)))
        means = np.array([[dict(curve)[step] for step in steps] for curve in curves]).mean(0)
        tokens = np.array([[cell.tokens_by_step[step] for step in steps] for cell in cells.values()]).mean(0)
        by_step.plot(steps, means, label=method, **style)
        by_token.plot(tokens / 1000, means, **style)
    _draw_differences(results, split, metric, at_end)
    label(by_step, "optimizer steps", f"{metric}, {split}")
    label(by_token, "thousand tokens that the teacher worked on", "")
    label(at_end, f"minus {results.plan.reference}, same seed", "")
    handles, labels = by_step.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    save(figure, path)


def _draw_differences(results: Results, split: str, metric: str, axes: Axes) -> None:
    """One row for each method, the first on top: its paired difference after the last step, with the interval."""
    reference = results.values(results.plan.reference, lambda cell: cell.final(split, metric))
    names: list[str] = []
    for number, method in enumerate(results.cells):
        values = results.values(method, lambda cell: cell.final(split, metric))
        difference = paired(values, reference)
        if method == results.plan.reference or difference is None:
            continue
        half_width = difference.half_width if difference.n > 1 else 0.0
        axes.errorbar(
            difference.mean, len(names), xerr=half_width, fmt="o", color=f"C{number % 10}", capsize=3
        )
        names.append(method)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)


def draw_switching(results: Results, path: Path) -> None:
    """Two panels over training: the share of rollouts that switch, and the switch position. Both are seed means."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (method, cells) in enumerate(results.cells.items()):
        if not cells:
            continue
        style = "-" if number < 10 else "--"
        for axes, values in ((left, _rates), (right, _positions)):
            line = _smoothed([values(cell) for cell in cells.values()])
            axes.plot(
                *zip(*line, strict=True), style, color=f"C{number % 10}", label=method
            ) if line else None
    label(left, "optimizer steps", "share of rollouts with a token of the teacher's")
    label(right, "optimizer steps", "mean place of the teacher's first token")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    save(figure, path)


def draw_bars(labels: Sequence[str], values: Sequence[Sequence[float]], title: str, path: Path) -> None:
    """One bar for each label: the mean of its ``values``, the 95 % interval, and every single value as a dot."""
    figure = Figure(figsize=(max(5.0, 0.8 * len(labels) + 2), 4), layout="constrained")
    axes = figure.subplots()
    for place, seeds in enumerate(values):
        axes.bar(place, float(np.mean(seeds)), color="C0", alpha=0.5)
        axes.errorbar(place, float(np.mean(seeds)), _half_width(seeds), color="black", capsize=4)
        axes.plot([place] * len(seeds), list(seeds), ".", color="C1")
    axes.set_xticks(range(len(labels)), list(labels), rotation=30, ha="right")
    axes.set_ylabel(title)
    save(figure, path)


def draw_evaluations(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One panel for each figure of the plan's evaluations: each method's mean with its 95 % interval."""
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["split"], row["metric"]), []).append(row)
    num_columns = min(3, len(panels))
    num_rows = -(-len(panels) // num_columns)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    size = (4.2 * num_columns + 1, (0.35 * len(methods) + 1) * num_rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True).flatten()
    for axes, ((split, metric), of_panel) in zip(grid, panels.items(), strict=False):
        for row in of_panel:
            place, figures = methods.index(row["method"]), row["mean"]
            axes.errorbar(
                figures["mean"], place, xerr=figures["half_width"], fmt="o", color=f"C{place % 10}", capsize=3
            )
        axes.set_yticks(range(len(methods)), methods)
        label(axes, f"{metric} ({split})", "")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    grid[0].invert_yaxis()
    save(figure, path)


def _half_width(values: Sequence[float]) -> float:
    return interval(values).half_width if len(values) > 1 else 0.0


def _rates(cell: CellResult) -> Sequence[float | None]:
    return cell.switch_rates


def _positions(cell: CellResult) -> Sequence[float | None]:
    return cell.switch_positions


def _smoothed(series: Sequence[Sequence[float | None]], window: int = 10) -> Line:
    """Means over seeds and over each ``window`` steps; a window without any value is left out."""
    line: Line = []
    for start in range(0, min(map(len, series)), window):
        found = [value for values in series for value in values[start : start + window] if value is not None]
        if found:
            line.append((start + window / 2, sum(found) / len(found)))
    return line


def label(axes: Axes, x: str, y: str) -> None:
    """Name both axes, and draw a faint grid."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)


def save(figure: Figure, path: Path) -> None:
    """Write the picture; the same figures always give the same file."""
    with mpl.rc_context({"svg.hashsalt": "adaswitch"}):
        figure.savefig(path, metadata={"Date": None})
