"""The comparison as a command, without Ray: interrupted, resumed, its table; bad input in one line."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import typer

from adaswitch.processes.managed import ManagedProcess
from adaswitch.runs.directory import RunDirectory, read_records
from experiments.__main__ import main
from tests.service_fixtures import command, inside, wait_for_records

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

app = typer.Typer()
app.command()(main)


def test_an_interrupted_comparison_goes_on_where_it_was(write_plan, tmp_path: Path) -> None:
    looked_at = {"greedy": {"limit": 6, "teacher": "models/chain-teacher"}}
    plan, folder = write_plan(evaluations=looked_at), tmp_path / "runs" / "two"
    arguments = ["--plan", str(plan), "--local", "--jobs", "2"]
    interrupted = ManagedProcess("compare", "experiments", arguments, tmp_path / "compare.log")
    try:
        wait_for_records(folder / "on_policy-seed7" / "metrics.jsonl", 2, interrupted)
        os.kill(interrupted.pid, signal.SIGTERM)
        assert interrupted.wait(120) == 130, interrupted.last_error()
        said = interrupted.log.read_text()
        assert "stopping: each run under way saves what was trained" in said
        assert "stopped; what was trained is saved, and the same command goes on" in said
    finally:
        interrupted.stop(20)
    saved = RunDirectory.open(folder / "on_policy-seed7").checkpoint_steps()
    assert saved
    assert saved[-1] < 24
    before = list(read_records(folder / "on_policy-seed7" / "metrics.jsonl"))

    result = inside(app, *arguments)
    assert result.returncode == 0, result.stdout
    after = list(read_records(folder / "on_policy-seed7" / "metrics.jsonl"))
    assert [record["step"] for record in after] == list(range(24))
    assert after[: saved[-1]] == before[: saved[-1]]
    table = (folder / "table.md").read_text()
    assert "| on_policy |" in table
    rows = json.loads((folder / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["adaswitch", "on_policy"]
    evaluations = json.loads((folder / "results.json").read_text())["evaluations"]
    assert [row["metric"] for row in evaluations[::2]] == ["exact_match", "forward_kl", "reverse_kl"]
    assert all(row["mean"]["n"] == 6 for row in evaluations)
    assert (folder / "eval-exact_match.svg").is_file()


def assert_one_line(result: subprocess.CompletedProcess[str], message: str) -> None:
    assert result.returncode == 2
    assert result.stdout.startswith("error: ")
    assert message in result.stdout
    assert len(result.stdout.strip().splitlines()) == 1


TOO_MANY = "--jobs: served runs use the whole machine"


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, ["--jobs", "2"], TOO_MANY),
        ({}, ["--local", "--methods", "skd"], "--methods: 'skd' is not in the plan"),
        ({"base": "configs/nobody.yaml"}, ["--local"], "nobody.yaml"),
        (
            {"methods": {"adaswitch": {"policy": {"kind": "sdk"}}}},
            ["--local"],
            "method adaswitch: policy.kind",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(write_plan, changes, options, message: str) -> None:
    assert_one_line(inside(app, "--plan", str(write_plan(**changes)), *options), message)


def test_bad_input_is_one_line_of_a_process_too(write_plan) -> None:
    assert_one_line(command("experiments", "--plan", str(write_plan()), "--jobs", "2"), TOO_MANY)
