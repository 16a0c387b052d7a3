"""A comparison whose cells are served: teacher, Ray and students as processes."""

import json
from functools import partial
from pathlib import Path

import pytest
import typer
import yaml

from adaswitch.runs.directory import read_records
from experiments.__main__ import main
from tests.service_fixtures import command, inside

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

app = typer.Typer()
app.command()(main)


def test_served_cells_end_as_local_ones_do(write_plan, tmp_path: Path) -> None:
    settings = yaml.safe_load(write_plan().read_text())["settings"]
    few = {**settings, "trainer.num_steps": 3, "trainer.eval_every": 3}
    found = []
    for name, run, options in (
        ("served", partial(command, "experiments"), []),
        ("local", partial(inside, app), ["--local"]),
    ):
        plan = write_plan(name=name, settings=few, methods={"adaswitch": {}})
        result = run("--plan", str(plan), *options)
        assert result.returncode == 0, result.stdout
        (row,) = json.loads((tmp_path / "runs" / name / "results.json").read_text())["rows"]
        steps = read_records(tmp_path / "runs" / name / "adaswitch-seed7" / "metrics.jsonl")
        found.append((row["by_seed"], [record["loss"] for record in steps]))
    assert found[0] == found[1]
