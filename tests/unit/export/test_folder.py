"""The trained model as a folder: what others need, and nothing that only resuming needs."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from adaswitch.errors import StorageError
from adaswitch.export.folder import write_model
from adaswitch.runs.directory import RunDirectory
from tests.disk import file_size_limit
from tests.finished_runs import STUDENT, finished
from tests.model_folders import CHAT, CHAT_TOKENS, make_folder, make_tokenizer


def written(run: RunDirectory, step: int = 8) -> Path:
    write_model(run, run.settings(), step, run.final)
    return run.final


def test_it_holds_the_model_and_its_card_and_no_optimizer(tmp_path: Path) -> None:
    folder = written(finished(tmp_path))
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in STUDENT.iterdir()} | {"README.md"}
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (folder / name).read_bytes() == (STUDENT / name).read_bytes()
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert str(model.dtype) == f"torch.{json.loads((STUDENT / 'config.json').read_text())['dtype']}"
    assert AutoTokenizer.from_pretrained(folder).get_vocab()


def test_a_chat_template_and_subfolders_go_along(tmp_path: Path) -> None:
    student = make_folder(tmp_path / "student", make_tokenizer(CHAT_TOKENS, chat_template=CHAT))
    run = finished(tmp_path, steps=(), student=Path(student))
    checkpoint = run.checkpoint(8)
    Path(student).rename(checkpoint)
    (checkpoint / "adapter").mkdir()
    (checkpoint / "adapter/adapter_config.json").write_text("{}")
    for name in ("trainer_state.pt", "trainer_state.1.pt", "SHA256SUMS"):
        (checkpoint / name).touch()
    folder = written(run)
    assert AutoTokenizer.from_pretrained(folder).chat_template == CHAT
    assert (folder / "adapter/adapter_config.json").is_file()
    assert "by themselves they are in `adapter/`" in (folder / "README.md").read_text()
    assert not list(folder.glob("trainer_state*"))
    assert not (folder / "SHA256SUMS").exists()


@pytest.mark.parametrize(
    ("stops", "own", "named"),
    [
        ([2], '{"eos_token_id": 2, "temperature": 0.6}', None),
        ([51, 2], '{"eos_token_id": [2, 51]}', None),
        ([2, 51], '{"eos_token_id": 2, "temperature": 0.6}', {"eos_token_id": [2, 51], "temperature": 0.6}),
        ([2, 51], None, {"eos_token_id": [2, 51], "bos_token_id": 1, "pad_token_id": 0}),
        ([2], None, {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}),
    ],
)
def test_others_stop_where_the_run_stopped(tmp_path: Path, stops, own, named) -> None:
    run = finished(tmp_path, f"student.stop_token_ids={stops}", steps=())
    make_folder(run.checkpoint(8), generation=own)
    file = written(run) / "generation_config.json"
    if named is None:
        assert file.read_text() == own
    else:
        assert json.loads(file.read_text()) == named


def test_a_change_of_it_leaves_the_checkpoint_alone(tmp_path: Path) -> None:
    run = finished(tmp_path)
    weights = written(run) / "model.safetensors"
    with weights.open("r+b") as file:
        file.write(b"other")
    assert (run.checkpoint(8) / "model.safetensors").read_bytes() == (
        STUDENT / "model.safetensors"
    ).read_bytes()


def test_an_earlier_one_is_replaced_as_a_whole(tmp_path: Path) -> None:
    run = finished(tmp_path)
    folder = written(run, 4)
    (folder / "left-over").touch()
    assert "| updates | 4, of" in (folder / "README.md").read_text()
    written(run, 8)
    assert "| updates | 8, of" in (folder / "README.md").read_text()
    assert not (folder / "left-over").exists()
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


def test_one_that_cannot_be_written_leaves_the_earlier_as_it_was(tmp_path: Path) -> None:
    run = finished(tmp_path)
    folder = written(run, 4)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with file_size_limit(1000), pytest.raises(StorageError, match=f"{folder} cannot be written"):
        written(run, 8)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []
