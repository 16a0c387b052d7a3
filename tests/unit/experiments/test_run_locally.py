"""``run_locally`` on a run directory that is there already: it goes on, refuses, does nothing, or begins another."""

from pathlib import Path
from typing import NoReturn

import pytest

import adaswitch
from adaswitch.runs.directory import read_records
from experiments import local
from tests.runs import NUM_STEPS, begun, settings

FEW = (
    "trainer.num_steps=1",
    "trainer.prompts_per_step=2",
    "trainer.eval_every=0",
    "student.max_new_tokens=8",
    "policy.window=2",
    "teacher.serve.max_model_len=64",
)


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> NoReturn:
        raise AssertionError("nothing is to be started")

    monkeypatch.setattr(local, "make_engine", refuse)
    monkeypatch.setattr(local, "prepare", refuse)


@pytest.mark.usefixtures("nothing_starts")
def test_a_complete_run_is_given_back_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(settings(tmp_path), num_steps=0, saved=NUM_STEPS, scores=NUM_STEPS).run
    result = adaswitch.run_locally(settings(tmp_path))
    assert (result.complete, result.checkpoint) == (True, run.checkpoint(NUM_STEPS))
    assert (result.before, result.after) == (0.24, 0.808)
    assert "is complete after 8 steps" in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_starts")
def test_other_settings_are_refused(tmp_path: Path) -> None:
    begun(settings(tmp_path))
    with pytest.raises(adaswitch.UserError, match=r"seed \(was 0, now 1\)"):
        adaswitch.run_locally(settings(tmp_path, "seed=1"))


def test_a_new_name_begins_another_run(tmp_path: Path) -> None:
    begun(settings(tmp_path))
    result = adaswitch.run_locally(settings(tmp_path, *FEW, "seed=1"), new_name=True)
    assert result.path == tmp_path / "run-2"
    assert result.checkpoint == tmp_path / "run-2" / "checkpoints" / "step-1"
    assert len(list(read_records(tmp_path / "run" / "metrics.jsonl"))) == NUM_STEPS


def test_a_run_that_is_stopped_before_its_first_step_has_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(adaswitch.run_locally.__globals__["StopRequest"], "__call__", lambda self: True)
    result = adaswitch.run_locally(settings(tmp_path, *FEW))
    assert (result.complete, result.checkpoint) == (False, None)
    said = capsys.readouterr().out
    assert "stopped; nothing was trained, so nothing is saved" in said
    assert f"go on with: adaswitch.run_locally(adaswitch.load_config('{tmp_path}/run/config.yaml'))" in said


def test_teacher_and_trainer_have_one_number_of_threads_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    used: list[int] = []
    for part in ("trainer.job", "services.teacher.engines.transformers_engine"):
        monkeypatch.setattr(f"{part}.compute_with", used.append)
    adaswitch.run_locally(settings(tmp_path, *FEW, "trainer.num_threads=2"))
    assert used == [2, 2]
    assert "computing with 2 threads" in capsys.readouterr().out
