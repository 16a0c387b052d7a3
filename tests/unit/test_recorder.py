"""What the trainer says about its own switching."""

import pytest

from adaswitch.io.config_files import load_config
from adaswitch.io.run_directory import RunDirectory, read_records
from trainer.learner import Update
from trainer.recorder import HEALTH_EVERY, Recorder

UPDATE = Update(1.0, 1.0, None, 0.5, 1e-3, 100)


@pytest.fixture
def recorder(tmp_path):
    config = load_config("configs/demo.yaml", [f"runs_dir={tmp_path}", "trainer.num_steps=60"])
    found = Recorder(RunDirectory.create(config), config, 0)
    yield found
    found.close()


def record(recorder: Recorder, num_steps: int, switch_rate: float) -> None:
    metrics = {
        "switch_rate": switch_rate,
        "mean_switch_position": 3.0,
        "mean_completion_tokens": 36.0,
        "mean_divergence": 0.2,
    }
    for step in range(num_steps):
        recorder.step(step, UPDATE, metrics, {"wait_s": 0.1}, queue_depth=0)


def test_a_signature_is_named_once_with_its_figure(recorder, capsys):
    record(recorder, 60, 1.0)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert len(notes) == 1
    assert "excessive switching: 100% of the rollouts switch, in the mean at token 3 of 36" in notes[0]


def test_a_healthy_run_is_not_remarked_on(recorder, capsys, tmp_path):
    record(recorder, HEALTH_EVERY, 0.5)
    assert "note:" not in capsys.readouterr().out
    assert len(list(read_records(tmp_path / "demo" / "metrics.jsonl"))) == HEALTH_EVERY
