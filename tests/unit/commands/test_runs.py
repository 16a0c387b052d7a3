"""The table of all runs, and what report and doctor say of how a run ended."""

import json
import os
import time
from pathlib import Path

import pytest

from adaswitch.commands.cli import app
from adaswitch.runs.attempts import Attempt
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.status import Phase
from tests.runs import NUM_STEPS, begun, settings
from tests.service_fixtures import inside
from tests.unit.commands.test_progress import write_run

NOBODY = 2**22 + 1
"""More than the largest number of a process."""


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def run_with(folder: Path, name: str, phase: Phase, *overrides: str, step: int = 3, why: str = "") -> Attempt:
    attempt = begun(settings(folder, *overrides, name=name), num_steps=0, scores=3)
    attempt.status.enter(Phase.TRAINING, step)
    if phase.is_end:
        attempt.status.end(phase, why)
    return attempt


def kill(attempt: Attempt) -> None:
    document = json.loads(attempt.run.status.read_text())
    attempt.run.status.write_text(json.dumps(document | {"pid": NOBODY}))


def printed(*arguments: str, code: int = 0) -> list[str]:
    done = inside(app, *arguments)
    assert done.returncode == code, done.stdout
    return done.stdout.splitlines()


def test_all_runs_are_in_one_table(tmp_path: Path) -> None:
    run_with(tmp_path, "a-complete", Phase.COMPLETE, step=NUM_STEPS)
    run_with(tmp_path, "b-failed", Phase.FAILED, "policy={kind: on_policy}")
    run_with(tmp_path, "c-at-work", Phase.TRAINING)
    kill(run_with(tmp_path, "d-killed", Phase.TRAINING))
    own = "policy={kind: custom, path: 'my_very_long_rules_module:Hesitant'}"
    run_with(tmp_path, "e" * 40, Phase.STOPPED, own)
    older = run_with(tmp_path, "f-older", Phase.STOPPED).run
    older.status.unlink()
    damaged = run_with(tmp_path, "g-damaged", Phase.STOPPED).run
    for file in (damaged.status, damaged.evals, damaged.path / "config.yaml"):
        file.write_text("{")
    run_with(tmp_path / "plan", "cell-seed1", Phase.COMPLETE, step=NUM_STEPS)
    (tmp_path / "no-run").mkdir()
    lines = printed("runs", str(tmp_path))
    assert max(len(line) for line in lines) <= 80
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows["a-complete"][1:5] == ["adaswitch", "complete", "8/8", "80.8%"]
    assert rows["b-failed"][1:4] == ["on_policy", "failed", "3/8"]
    assert rows["c-at-work"][2] == "training"
    assert rows["d-killed"][2] == "died"
    assert rows["f-older"][2:5] == ["?", "0/8", "80.8%"]
    assert rows["g-damaged"][1:5] == ["?", "?", "0/?", "-"]
    assert rows["plan/cell-seed1"][2] == "complete"
    assert "no-run" not in rows


def test_ages_have_one_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with(tmp_path, "a", Phase.STOPPED)
    now_s = time.time()
    for seconds, words in ((65, "1 min ago"), (7_300, "2 h ago"), (300_000, "3 d ago")):
        monkeypatch.setattr(time, "time", lambda s=seconds: now_s + s)
        assert printed("runs", str(tmp_path))[1].endswith(words)


def test_where_there_is_no_run_it_is_said(tmp_path: Path) -> None:
    assert printed("runs", str(tmp_path)) == [f"no runs in {tmp_path} yet"]
    (line,) = printed("runs", str(tmp_path / "nowhere"), code=2)
    assert line.startswith(f"error: {tmp_path}/nowhere: there is no such folder")


@pytest.mark.parametrize("command", ["report", "doctor"])
def test_a_run_that_failed_says_so(tmp_path: Path, command: str) -> None:
    run = run_with(tmp_path, "run", Phase.FAILED, why="teacher: the engine has died").run
    lines = printed(command, str(run.path))
    assert lines[0].startswith("failed while training: 3 of 8 steps, attempt 1, 20")
    assert lines[1:3] == [
        "why: teacher: the engine has died",
        f"go on with: adaswitch run --config {run.path}/config.yaml",
    ]
    assert "has not done a step yet" in lines[3]
    write_run(run, 0.5)
    lines = printed(command, str(run.path))
    assert lines[0].startswith("failed while training")
    assert len(lines) > 3


@pytest.mark.parametrize("command", ["report", "doctor"])
def test_how_other_runs_stand_is_said_too(tmp_path: Path, command: str) -> None:
    died = run_with(tmp_path, "died", Phase.TRAINING)
    kill(died)
    for attempt, words in (
        (died, "died without a word while training: 3 of 8 steps"),
        (run_with(tmp_path, "whole", Phase.COMPLETE, step=NUM_STEPS), "complete: 8 of 8 steps"),
        (run_with(tmp_path, "now", Phase.TRAINING), "training: 3 of 8 steps"),
    ):
        assert printed(command, str(attempt.run.path))[0].startswith(words)
    assert str(os.getpid()) in printed(command, str(tmp_path / "now"))[0]


@pytest.mark.parametrize("command", ["report", "doctor"])
def test_an_older_run_is_read_as_before(tmp_path: Path, command: str) -> None:
    run = RunDirectory.create(settings(tmp_path))
    (line,) = printed(command, str(run.path), code=2)
    assert line == f"error: {run.path}: this run has not done a step yet"
    write_run(run, 0.5)
    assert "attempt" not in "\n".join(printed(command, str(run.path)))


@pytest.mark.parametrize("command", ["report", "doctor"])
def test_a_damaged_status_hides_nothing_else_of_the_run(tmp_path: Path, command: str) -> None:
    attempt = begun(settings(tmp_path), num_steps=0)
    write_run(attempt.run, 0.5)
    attempt.run.status.write_text("{")
    first, *rest = printed(command, str(attempt.run.path))
    assert first.startswith(f"unknown, because of a damaged status: {attempt.run.status}")
    assert rest


def test_a_run_without_its_settings_is_in_the_table_and_its_logs_are_not(tmp_path: Path) -> None:
    run = run_with(tmp_path, "lost", Phase.FAILED).run
    (run.path / "config.yaml").unlink()
    assert [line.split()[:3] for line in printed("runs", str(tmp_path))[1:]] == [["lost", "?", "failed"]]
