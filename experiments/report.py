"""Writes a comparison's table and pictures into its directory."""

import json
from pathlib import Path

from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.overview import RESULTS_FILE, TABLE_FILE
from experiments.pictures import draw_bars, draw_comparison, draw_evaluations, draw_switching
from experiments.results import Results
from experiments.tables import as_json, as_markdown
from experiments.traces import draw_traces, read_stages


def write_report(results: Results, folder: Path, machine: str) -> list[Path]:
    """Write ``table.md``, ``results.json``, and pictures of marks, switching, costs and traces. Returns the paths."""
    document = as_json(results, machine)
    table, numbers, switching = folder / TABLE_FILE, folder / RESULTS_FILE, folder / "switching.svg"
    table.write_text(as_markdown(document, results.plan.title), encoding="utf-8")
    numbers.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    paths = [table, numbers]
    for split, metric in results.measured():
        paths.append(folder / f"{split}-{metric}.svg".replace(" ", "-").replace("/", "-"))
        draw_comparison(results, split, metric, paths[-1])
    if document["evaluations"]:
        paths.append(folder / "evaluations.svg")
        draw_evaluations(document["evaluations"], paths[-1])
    draw_switching(results, switching)
    return [*paths, switching, _costs(results, folder / "costs.svg"), *_traces(results, folder)]


def _costs(results: Results, path: Path) -> Path:
    """Draw each method's seconds of training, which shows the cost of AdaSwitch beside plain distillation."""
    methods = {method: list(cells.values()) for method, cells in results.cells.items() if cells}
    seconds = [[cell.train_s for cell in cells] for cells in methods.values()]
    draw_bars(list(methods), seconds, "seconds of training", path)
    return path


def _traces(results: Results, folder: Path) -> list[Path]:
    """Draw the divergences inside rollouts, from the first seed's run of each method that has thresholds."""
    paths = []
    for method, cells in results.cells.items():
        for cell in list(cells.values())[:1]:
            stages = read_stages(RunDirectory.open(cell.folder))
            if any(rollout.thresholds for stage in stages for rollout in stage.rollouts):
                paths.append(folder / f"traces-{method}.svg")
                draw_traces(stages, paths[-1])
    return paths
