"""Writes a comparison's table and pictures into its directory."""

import json
from pathlib import Path

from experiments.pictures import draw_comparison, draw_switching
from experiments.results import Results
from experiments.tables import as_json, as_markdown


def write_report(results: Results, folder: Path, machine: str) -> list[Path]:
    """``table.md``, ``results.json``, and a picture a split and metric and one of switching. Returns the paths."""
    document = as_json(results, machine)
    table, numbers, switching = folder / "table.md", folder / "results.json", folder / "switching.svg"
    table.write_text(as_markdown(document, results.plan.title), encoding="utf-8")
    numbers.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    paths = [table, numbers]
    for split, metric in results.measured():
        paths.append(folder / f"{split}-{metric}.svg".replace(" ", "-").replace("/", "-"))
        draw_comparison(results, split, metric, paths[-1])
    draw_switching(results, switching)
    return [*paths, switching]
