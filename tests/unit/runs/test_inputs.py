"""What the settings of a run name must not change under them while the run is under way."""

import json
import shutil
from pathlib import Path

import pytest

from adaswitch.config.run import RunConfig
from adaswitch.data import weights
from adaswitch.data.preflight import load_run_data
from adaswitch.data.weights import weights_sha256
from adaswitch.errors import ConfigError
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.inputs import inputs_of, keep_inputs, require_same_inputs
from tests.runs import begun, settings


def spoiled(record: dict[str, str]) -> dict[str, str]:
    return record | {"answer": "9"}


RECORDS = [{"prompt": f"{number}+1=", "answer": str(number + 1)} for number in range(9)]


def write(path: Path, records: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    for model in ("student", "teacher"):
        shutil.copytree(f"models/chain-{model}", tmp_path / model)
    write(tmp_path / "train.jsonl", RECORDS)
    write(tmp_path / "eval.jsonl", RECORDS[:3])
    task = "prompt_field: prompt, reference_field: answer, chat_template: false"
    return settings(
        tmp_path,
        f"task={{kind: jsonl, train: {{path: {tmp_path}/train.jsonl}}, eval: {{path: {tmp_path}/eval.jsonl}}, {task}}}",
        f"student.model={tmp_path}/student",
        f"teacher.serve.model={tmp_path}/teacher",
    )


def inputs(config: RunConfig) -> dict[str, str]:
    return inputs_of(config, load_run_data(config))


def other_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda folder: write(folder / "train.jsonl", RECORDS[::-1]),
            "the training data (was 9 texts, sha256 ",
        ),
        (lambda folder: write(folder / "train.jsonl", RECORDS[1:]), "now 8 texts"),
        (
            lambda folder: write(folder / "eval.jsonl", [*RECORDS[:2], spoiled(RECORDS[2])]),
            "the held-out data",
        ),
        (lambda folder: other_byte(folder / "student/model.safetensors"), "the weights of student.model"),
        (
            lambda folder: other_byte(folder / "teacher/model.safetensors"),
            "the weights of teacher.serve.model",
        ),
    ],
)
def test_contents_that_have_changed_are_named(tmp_path: Path, config: RunConfig, change, named: str) -> None:
    run = begun(config).run
    keep_inputs(run, inputs(config))
    require_same_inputs(run, inputs(config))
    change(tmp_path)
    with pytest.raises(ConfigError) as caught:
        require_same_inputs(run, inputs(config))
    message = str(caught.value)
    assert named in message
    assert message.count("(was ") == 1
    assert "\n" not in message
    run.metrics.unlink()
    run.evals.unlink()
    require_same_inputs(run, inputs(config))


def test_what_is_not_here_now_or_was_not_known_then_is_not_asked_for(
    tmp_path: Path, config: RunConfig
) -> None:
    run = begun(config).run
    require_same_inputs(run, inputs(config))  # a run of an older version
    keep_inputs(run, inputs(config))
    elsewhere = config.model_copy(update={"teacher": config.teacher.model_copy(update={"serve": None})})
    require_same_inputs(run, inputs(elsewhere))
    keep_inputs(run, inputs(elsewhere))
    assert "the weights of teacher.serve.model" in json.loads(run.inputs.read_text())
    run.inputs.write_text("{")
    require_same_inputs(run, inputs(config))


def test_a_run_that_is_begun_anew_keeps_nothing_of_before(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    keep_inputs(run, {"a": "1", "b": "2"})
    keep_inputs(run, {"a": "3"})
    assert json.loads(run.inputs.read_text()) == {"a": "3"}


def test_of_a_large_file_parts_from_its_first_to_its_last_byte_count(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(weights, "_PART", 16)
    file = tmp_path / "model.safetensors"
    seen = set()
    for place in (0, 5000, 9999):
        content = bytearray(10_000)
        content[place] = 1
        file.write_bytes(content)
        seen.add(weights_sha256(str(tmp_path)))
    assert len(seen) == 3
    assert weights_sha256("no/model") is None
