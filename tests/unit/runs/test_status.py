"""``status.json``: what stands in it, when it is written, and a run that died without a word."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from adaswitch.errors import DataError
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.status import Phase, StatusFile, read_status
from tests.disk import file_size_limit

NOBODY = 2**22 + 1
"""More than the largest number of a process."""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_all_that_is_known_stands_in_the_file(run: RunDirectory) -> None:
    file = StatusFile(run, 2, 200, "adaswitch run --config runs/demo/config.yaml")
    file.enter(Phase.TRAINING, 37)
    file.end(Phase.FAILED, "teacher: it\nwent away")
    found = json.loads(run.status.read_text())
    assert (
        found.items()
        >= {
            "phase": "failed",
            "during": "training",
            "why": "teacher: it went away",
            "step": 37,
            "num_steps": 200,
            "attempt": 2,
            "pid": os.getpid(),
            "command": "adaswitch run --config runs/demo/config.yaml",
        }.items()
    )
    assert found["started"].endswith("Z")
    assert read_status(run) == file.status


def test_a_phase_is_written_at_once_and_a_step_once_a_second(run: RunDirectory) -> None:
    clock = Clock()
    file = StatusFile(run, 1, 200, "", clock)
    for step, now_s in ((0, 0.0), (1, 0.5), (2, 0.9), (3, 1.1)):
        clock.now_s = now_s
        file.enter(Phase.TRAINING, step)
        assert json.loads(run.status.read_text())["step"] == (3 if step == 3 else 0)
    file.enter(Phase.SAVING, 4)
    assert json.loads(run.status.read_text())["step"] == 4


def test_the_phase_in_which_it_ended_stays_when_the_cause_is_known_better(run: RunDirectory) -> None:
    trainer = StatusFile(run, 1, 200, "")
    trainer.enter(Phase.TRAINING, 37)
    trainer.end(Phase.STOPPED, "it was asked to stop")
    launcher = StatusFile(run, 1, 200, "")
    launcher.read_again()
    launcher.end(Phase.FAILED, "teacher: it went away")
    found = read_status(run)
    assert found is not None
    assert (found.phase, found.during, found.step) == (Phase.FAILED, Phase.TRAINING, 37)


def test_of_another_attempt_nothing_is_taken_over(run: RunDirectory) -> None:
    StatusFile(run, 1, 200, "").enter(Phase.TRAINING, 37)
    second = StatusFile(run, 2, 200, "")
    second.read_again()
    assert (second.status.step, second.status.attempt) == (0, 2)


def test_a_process_that_is_gone_has_died_unless_the_attempt_had_ended(run: RunDirectory) -> None:
    status = StatusFile(run, 1, 200, "").status
    assert status.state == "starting"
    gone = replace(status, pid=NOBODY, phase=Phase.TRAINING)
    assert gone.state == "died"
    assert replace(gone, phase=Phase.STOPPED).state == "stopped"
    assert replace(gone, host="elsewhere").state == "training"
    assert not replace(gone, host="elsewhere").is_at_work_here()
    # A younger process has been given the number.
    assert replace(status, updated="2020-01-01T00:00:00Z").state == "died"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"phase": "napping"}'])
def test_a_damaged_file_is_named(run: RunDirectory, content: str) -> None:
    run.status.write_text(content)
    with pytest.raises(DataError, match=r"status\.json: the file is damaged"):
        read_status(run)


def test_there_is_none_of_an_older_version(run: RunDirectory) -> None:
    assert read_status(run) is None


def test_a_file_that_cannot_be_written_is_noted_once_and_ends_nothing(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    file = StatusFile(run, 1, 200, "")
    with file_size_limit(10):
        file.enter(Phase.TRAINING, 1)
        file.end(Phase.FAILED, "why")
    said = capsys.readouterr().err
    assert said.startswith(
        f"note: {run.status} cannot be written, because it would be larger than files may be"
    )
    assert said.count("\n") == 1
