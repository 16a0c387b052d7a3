"""Supervised fine-tuning by the trainer: the answers alone, and the updates of a run whose teacher is not heard."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.policies.sft import SFT
from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import read_records
from adaswitch.runs.words import run_of
from services.student.__main__ import main as start_students
from tests.local_source import LocalSource, LocalTeacher
from tests.model_folders import write_records
from trainer.job import prepare
from trainer.loop import train

Weights = dict[str, torch.Tensor]


def config(folder: Path, kind: str, **trainer: object) -> RunConfig:
    return parse_config(
        {
            "name": kind,
            "runs_dir": str(folder),
            "seed": 3,
            "task": {"kind": "chain", "num_train": 6, "num_eval": 4},
            "teacher": {"top_k": 5},
            "student": {"model": "models/chain-student", "max_new_tokens": 40, "group_size": 4},
            "policy": {"kind": kind},
            "trainer": {
                "num_steps": 3,
                "prompts_per_step": 4,
                "micro_batch_tokens": 128,
                "eval_every": 0,
                "loss": {"kind": "cross_entropy"},
                **trainer,
            },
        }
    )


def trained(settings: RunConfig, *, steps: int | None = None) -> Weights:
    """The weights at the end, or after ``steps`` of which a checkpoint is left."""
    left = settings.trainer.num_steps if steps is None else steps
    job, start = prepare(settings, lambda: _source(settings), lambda: False)
    stops = iter([False] * (2 * (left - start)))
    ends = train(replace(job, should_stop=lambda: next(stops, True)) if steps else job, start)
    job.recorder.close()
    assert ends == left
    return {name: tensor.clone() for name, tensor in job.learner.weights().items()}


def _source(settings: RunConfig) -> LocalSource:
    assert settings.policy.needs_students, "nobody is connected to"
    return LocalSource(settings, LocalTeacher("models/chain-teacher"))


def test_the_updates_are_those_of_the_data_set_with_a_teacher(tmp_path: Path) -> None:
    own, theirs = (trained(config(tmp_path, kind)) for kind in ("sft", "dataset"))
    assert all(torch.equal(own[name], tensor) for name, tensor in theirs.items())
    records, others = (
        list(read_records(run_of(config(tmp_path, kind)).metrics)) for kind in ("sft", "dataset")
    )
    alike = ("loss", "grad_norm", "num_tokens", "mean_completion_tokens", "stop_rate", "staleness")
    assert [[each[name] for name in alike] for each in records] == [
        [each[name] for name in alike] for each in others
    ]
    assert {record["scored_tokens"] for record in records} == {0}
    assert 0 < min(record["stop_rate"] for record in records) < 1, "some answers are whole, and some are cut"


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = trained(config(tmp_path / "whole", "sft"))
    trained(config(tmp_path / "stopped", "sft"), steps=1)
    again = trained(config(tmp_path / "stopped", "sft"))
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


def test_a_complete_run_leaves_a_model_that_says_how_it_was_made(tmp_path: Path) -> None:
    settings = config(tmp_path, "sft", num_steps=1)
    trained(settings)
    card = (run_of(settings).final / "README.md").read_text()
    assert "fine-tuned on the data set's own answers" in card
    for word in ("| teacher", "the teacher", "switched", "knowledge-distillation"):
        assert word not in card


def test_a_record_without_an_answer_is_named(tmp_path: Path) -> None:
    path = write_records(tmp_path / "data.jsonl", [{"prompt": "1+1=", "reference": ""}])
    document = config(tmp_path, "sft").model_dump(mode="json")
    settings = parse_config({**document, "task": {"kind": "jsonl", "train": {"path": path}}})
    with pytest.raises(DataError, match=r"line 1: no reference answer, which policy.kind sft trains on"):
        prepare(settings, lambda: _source(settings), lambda: False)


def test_students_are_not_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(config(tmp_path, "sft"), tmp_path / "run.yaml")
    with pytest.raises(SystemExit):
        start_students(tmp_path / "run.yaml", [])
    assert "policy.kind: sft needs no students" in capsys.readouterr().err


async def test_nobody_can_roll_it_out() -> None:
    with pytest.raises(ConfigError, match="it needs no students"):
        await SFT().roll_out(None)
