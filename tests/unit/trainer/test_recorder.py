"""What the trainer says about its own switching."""

from dataclasses import replace

import pytest

from adaswitch.data.models import load_tokenizer
from adaswitch.errors import DataError
from adaswitch.evaluation.evaluation import Evaluation
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, append_record, read_records
from adaswitch.tasks.scores import Interval, Score
from tests.fakes import random_rollout
from tests.tracking import Told
from trainer import trackers
from trainer.recorder import HEALTH_EVERY, Recorder
from trainer.update import Update

UPDATE = Update(1.0, 1.0, None, 0.5, 1e-3, 100, 1.0)


@pytest.fixture
def recorder(tmp_path):
    config = load_config("configs/demo.yaml", [f"runs_dir={tmp_path}", "trainer.num_steps=60"])
    found = Recorder(RunDirectory.create(config), config, 0)
    yield found
    found.close()


def record(recorder: Recorder, num_steps: int, switch_rate: float, **changes: float) -> None:
    metrics = {
        "switch_rate": switch_rate,
        "mean_switch_position": 3.0,
        "mean_completion_tokens": 36.0,
        "mean_divergence": 0.2,
        "late_switch_rate": 0.4,
    }
    for step in range(num_steps):
        recorder.step(step, UPDATE, metrics | changes, {"wait_s": 0.1}, queue_depth=0)


def test_a_signature_is_named_once_with_its_figure(recorder, capsys):
    record(recorder, 60, 1.0)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert len(notes) == 1
    assert (
        "excessive switching: 100% of the rollouts switch, in the mean at token 3 of 36; 40% of" in notes[0]
    )


def test_what_is_no_fault_is_not_remarked_on(recorder, capsys):
    record(recorder, 60, 1.0, late_switch_rate=0.1)
    assert "note:" not in capsys.readouterr().out


def test_marks_that_do_not_rise_make_much_switching_a_fault(recorder, capsys):
    half = Score("eval", "exact_match", 0.5, Interval(0.45, 0.55, "Wilson"), 500, 0)
    for step in (0, 30):
        recorder.evaluation(step, Evaluation("chain", [half], []), 1.0)
    record(recorder, 60, 1.0, late_switch_rate=0.1)
    assert "exact match has not risen beyond chance (50.0% before, 50.0% now)" in capsys.readouterr().out


def test_a_healthy_run_is_not_remarked_on(recorder, capsys, tmp_path):
    record(recorder, HEALTH_EVERY, 0.5)
    assert "note:" not in capsys.readouterr().out
    assert len(list(read_records(tmp_path / "demo" / "metrics.jsonl"))) == HEALTH_EVERY


def test_an_evaluation_is_on_record_with_its_interval(recorder, tmp_path):
    half = Score("eval", "rouge_l", 0.5, Interval(0.4, 0.6, "normal over prompts"), 9, 0)
    recorder.evaluation(
        3, Evaluation("chain", [half, replace(half, split="one", interval=None, n=1)], []), 1.0
    )
    found = list(read_records(tmp_path / "demo" / "eval.jsonl"))
    kept = {"low": 0.4, "high": 0.6, "method": "normal over prompts"}
    assert [line["interval"] for line in found] == [kept, None]


STEP = {"step": 0, "step_s": 1.0}
EVAL = {"step": 0, "split": "eval", "metric": "exact_match", "value": 0.5, "n": 9, "eval_s": 1.0}


@pytest.mark.parametrize(
    ("name", "record", "complaint"),
    [
        ("metrics", {"step_s": 1.0}, 'no field "step"'),
        ("metrics", {"step": "1", "step_s": 1.0}, "field \"step\" is '1'"),
        ("metrics", {"step": 1}, 'no field "step_s"'),
        ("metrics", {"step": 1, "step_s": "x"}, "field \"step_s\" is 'x'"),
        ("metrics", STEP | {"mean_divergence": "x"}, "field \"mean_divergence\" is 'x'"),
        ("evals", {"split": "eval"}, 'no field "step"'),
    ],
)
def test_what_an_earlier_attempt_left_damaged_is_named(tmp_path, name, record, complaint):
    config = load_config("configs/demo.yaml", [f"runs_dir={tmp_path}"])
    run = RunDirectory.create(config)
    path = getattr(run, name)
    for line in (EVAL if name == "evals" else STEP, record):
        append_record(path, line)
    with pytest.raises(DataError) as caught:
        Recorder(run, config, 5)
    assert f"{path}, line 2: {complaint}, where a number" in str(caught.value)


def test_trackers_are_told_of_steps_marks_samples_and_the_model(tmp_path, monkeypatch):
    told = Told()
    monkeypatch.setattr(trackers, "_make", lambda name, place: told)
    config = load_config("configs/demo.yaml", [f"runs_dir={tmp_path}", "trainer.num_steps=27"])
    recorder = Recorder(RunDirectory.create(config), config, 0)
    tokenizer = load_tokenizer("models/chain-student")
    record(recorder, 1, 0.5)
    for step in range(27):
        recorder.samples(step, [random_rollout(0)], tokenizer)
    interval = Interval(0.4, 0.6, "Wilson")
    scores = [
        Score("eval", "exact_match", 0.5, interval, 8, 0),
        Score("longer", "exact_match", None, None, 0, 8),
    ]
    recorder.evaluation(1, Evaluation("chain", scores, []), 2.0)
    recorder.complete(tmp_path / "final")
    recorder.close()
    kinds = [call[0] for call in told.calls]
    assert kinds == [
        "settings",
        "table",
        "scalars",
        *["table", "picture"] * 3,
        "evaluation",
        "model",
        "close",
    ]
    by_kind = {call[0]: call for call in told.calls}
    assert by_kind["settings"][1]["trainer.num_steps"] == 27
    assert by_kind["scalars"][1]["train/loss"] == 1.0
    assert "train/step" not in by_kind["scalars"][1]
    assert [call[2] for call in told.calls if call[0] == "table"] == [0, 0, 25, 26]
    marks = {"eval/exact_match": 0.5, "eval/exact_match_low": 0.4, "eval/exact_match_high": 0.6}
    assert by_kind["evaluation"] == ("evaluation", marks, 1)
    assert by_kind["model"] == ("model", tmp_path / "final")
    assert by_kind["close"] == ("close", True)
    first, second = read_records(tmp_path / "demo" / "eval.jsonl")
    assert (first["interval"]["low"], first["interval"]["high"], second["interval"]) == (0.4, 0.6, None)


def test_a_run_without_trackers_has_none(tmp_path):
    config = load_config("configs/demo.yaml", [f"runs_dir={tmp_path}", "trackers=[]"])
    run = RunDirectory.create(config)
    recorder = Recorder(run, config, 0)
    record(recorder, 1, 0.5)
    recorder.samples(0, [random_rollout(0)], load_tokenizer("models/chain-student"))
    recorder.close()
    assert not run.tensorboard.exists()
    assert len(list(read_records(run.metrics))) == 1
