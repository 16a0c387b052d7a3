"""A complete run leaves its trained model in ``final/``; one that is not leaves none."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adaswitch.errors import StorageError
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.status import Phase, read_status
from tests.local_source import LocalTeacher
from tests.unit.trainer.test_trainer import StopAfter, config, run_training
from trainer import final


@pytest.fixture(scope="module")
def teacher() -> LocalTeacher:
    return LocalTeacher("models/chain-teacher")


def test_it_is_the_last_checkpoints_model_and_written_at_the_end_alone(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    run = RunDirectory(tmp_path / "run")
    run_training(config(tmp_path), teacher, StopAfter(run, 2))
    assert not run.final.exists()
    run_training(config(tmp_path), teacher)
    models = [
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
        for folder in (run.final, run.checkpoint(4))
    ]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[1])
    card = (run.final / "README.md").read_text()
    assert "| updates | 4, of 4 rollouts each |" in card
    assert "| exact match | 8 | " in card
    assert not (run.final / "trainer_state.pt").exists()


def test_a_longer_run_replaces_it_once_it_is_complete(tmp_path: Path, teacher: LocalTeacher) -> None:
    run = RunDirectory(tmp_path / "run")
    run_training(config(tmp_path), teacher)
    longer = config(tmp_path, **{"trainer.num_steps": 6})
    run_training(longer, teacher, StopAfter(run, 5))
    assert "| updates | 4, of" in (run.final / "README.md").read_text()
    run_training(longer, teacher)
    assert "| updates | 6, of" in (run.final / "README.md").read_text()


def test_one_that_cannot_be_written_is_said_and_the_run_is_complete(
    tmp_path: Path, teacher: LocalTeacher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise StorageError("final cannot be written, because the disk is full")

    monkeypatch.setattr(final, "write_model", full)
    run_training(config(tmp_path), teacher)
    run = RunDirectory(tmp_path / "run")
    status = read_status(run)
    assert status is not None
    assert status.phase is Phase.COMPLETE
    assert (
        f"warning: final cannot be written, because the disk is full; the trained model is in {run.checkpoint(4)}, "
        f"and `adaswitch export {run.path} --to DIR` writes it into a folder of its own"
    ) in capsys.readouterr().out
