"""The settings of a run, from the file to the point at which an attempt may begin."""

import json
import os
import shutil
from pathlib import Path

import pytest

from adaswitch.errors import ConfigError, DataError
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.opening import load_settings, opened
from adaswitch.runs.overview import status_lines
from adaswitch.runs.status import Phase, read_status
from tests.runs import NUM_STEPS, begun, settings

NOBODY = 2**22 + 1
"""A process id that no process has: it is beyond the kernel's largest."""


@pytest.mark.parametrize("move", [os.rename, shutil.copytree])
def test_the_file_of_a_run_that_stands_elsewhere_begins_no_other_run_in_silence(tmp_path: Path, move) -> None:
    attempt = begun(settings(tmp_path), saved=4)
    attempt.status.end(Phase.STOPPED, "it was asked to stop")
    there = tmp_path / "archive" / "moved"
    there.parent.mkdir()
    move(attempt.run.path, there)
    file = there / "config.yaml"
    fix = f"name=moved runs_dir={there.parent}"
    with pytest.raises(
        ConfigError, match=f"moved or copied.*{tmp_path / 'run'}.*add {fix} to go on with it here"
    ):
        load_settings(file, ["trainer.num_steps=20"])
    assert status_lines(RunDirectory(there))[-1].endswith(f"adaswitch run --config {file} {fix}")
    config, _ = opened(load_settings(file, fix.split()))
    assert Path(config.runs_dir) / config.name == there
    assert load_settings(file, ["name=other"]).name == "other"


def test_a_file_that_is_no_runs_or_is_where_it_belongs_is_taken_as_it_is(tmp_path: Path) -> None:
    run = begun(settings(tmp_path)).run
    file = run.path / "config.yaml"
    assert load_settings(file, []) == load_config(file)
    assert load_settings(run.attempts / "1" / "config.yaml", []).name == "run"
    assert load_settings(file, [], new_name=True).name == "run-2"
    shutil.copy(file, tmp_path / "config.yaml")
    assert load_settings(tmp_path / "config.yaml", []).name == "run"


def test_a_complete_run_whose_process_did_not_get_to_say_so_is_noted_as_complete(tmp_path: Path) -> None:
    attempt = begun(settings(tmp_path), saved=NUM_STEPS, scores=NUM_STEPS)
    attempt.status.enter(Phase.SAVING, NUM_STEPS)
    document = json.loads(attempt.run.status.read_text())
    attempt.run.status.write_text(json.dumps(document | {"pid": NOBODY}))
    assert opened(settings(tmp_path))[1] == NUM_STEPS
    status = read_status(attempt.run)
    assert status is not None
    assert (status.phase, status.step, status.during) == (Phase.COMPLETE, NUM_STEPS, Phase.SAVING)
    attempt.run.status.write_text("{")
    assert opened(settings(tmp_path))[1] == NUM_STEPS
    with pytest.raises(DataError):
        read_status(attempt.run)


def test_a_run_that_is_not_complete_is_left_as_it_is(tmp_path: Path) -> None:
    attempt = begun(settings(tmp_path), saved=4)
    before = attempt.run.status.read_bytes()
    assert opened(settings(tmp_path))[1] is None
    assert attempt.run.status.read_bytes() == before
