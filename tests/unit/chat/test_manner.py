"""How a model is asked: as its run asked it, or by its own chat template, or as plain text."""

from pathlib import Path

import pytest

from adaswitch.chat.manner import locate, manner_of
from adaswitch.data.models import load_tokenizer
from adaswitch.errors import DataError
from adaswitch.export.folder import write_model
from adaswitch.runs.directory import RunDirectory
from tests.finished_runs import damage_weights, finished
from tests.model_folders import CHAT, CHAT_TOKENS, make_folder, make_tokenizer, write_records
from tests.runs import begun, settings


def test_a_run_means_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    run = finished(tmp_path)
    found = locate(str(run.path))
    assert found.folder == str(run.checkpoint(8))
    assert found.run is not None
    assert found.run.path == run.path
    damage_weights(run.checkpoint(8))
    assert locate(str(run.path)).folder == str(run.checkpoint(4))


def test_the_parts_of_a_run_belong_to_it_and_other_folders_do_not(tmp_path: Path) -> None:
    run = finished(tmp_path, steps=(8,))
    write_model(run, run.settings(), 8, run.final)
    for part in (run.checkpoint(8), run.final):
        found = locate(str(part)).run
        assert found is not None
        assert found.path == run.path
    assert locate("models/chain-student").run is None
    run.checkpoint(8).rename(tmp_path / "final")
    assert locate(str(tmp_path / "final")).run is None
    assert locate(str(run.path)).folder == str(run.final)


def test_a_run_without_a_model_is_refused(tmp_path: Path) -> None:
    begun(settings(tmp_path), num_steps=0)
    with pytest.raises(DataError, match="the run has no checkpoint yet"):
        locate(str(tmp_path / "run"))


def test_a_student_is_asked_as_its_run_asked_it(tmp_path: Path) -> None:
    run = finished(tmp_path, "student.max_new_tokens=7")
    located = locate(str(run.path))
    manner = manner_of(located, None, load_tokenizer(located.folder))
    assert (manner.stop_token_ids, manner.max_new_tokens) == ([1], 7)
    assert not manner.task.wraps_prompts
    assert manner.words == f"asked as plain text, as {run.path}/config.yaml says"


def test_a_text_stands_between_the_tasks_own(tmp_path: Path) -> None:
    data = write_records(tmp_path / "a.jsonl", [{"prompt": "a", "reference": "b"}])
    config = settings(tmp_path).model_dump(mode="json")
    task = {"kind": "jsonl", "train": {"path": data}, "chat_template": True, "prompt_suffix": " briefly."}
    config["task"] = task
    file = tmp_path / "own.yaml"
    import yaml

    file.write_text(yaml.safe_dump(config))
    folder = make_folder(tmp_path / "model", make_tokenizer(CHAT_TOKENS, chat_template=CHAT))
    manner = manner_of(locate(folder), file, load_tokenizer(folder))
    assert manner.task.asking("why?") == "why? briefly."
    assert manner.task.wraps_prompts
    assert manner.words == f"asked in its chat template, as {file} says"


def test_a_model_of_no_run_is_asked_by_its_own_template(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", make_tokenizer(CHAT_TOKENS, chat_template=CHAT))
    manner = manner_of(locate(folder), None, load_tokenizer(folder))
    assert manner.task.wraps_prompts
    assert manner.stop_token_ids is None
    plain = manner_of(locate("models/chain-student"), None, load_tokenizer("models/chain-student"))
    assert not plain.task.wraps_prompts
    assert plain.words == "asked as plain text, since it has no chat template"


def test_settings_that_cannot_be_read_are_named_with_the_way_out(tmp_path: Path) -> None:
    run: RunDirectory = finished(tmp_path)
    (run.path / "config.yaml").write_text("name: run\n")
    located = locate(str(run.checkpoint(8)))
    with pytest.raises(
        DataError, match=r"damaged, or of another version.*\(or say how to ask with --config\)"
    ):
        manner_of(located, None, load_tokenizer(located.folder))
