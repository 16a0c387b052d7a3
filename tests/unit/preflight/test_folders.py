"""A model folder that lacks a file, or holds half of one, is refused by name before any library loads it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.data import hub
from adaswitch.errors import ConfigError, ModelError
from adaswitch.preflight import folders
from adaswitch.preflight.folders import check_pair, read_model_files
from adaswitch.preflight.lengths import check_longest, check_micro_batch

STUDENT, TEACHER = "models/chain-student", "models/chain-teacher"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the demo's student."""
    shutil.copytree(STUDENT, tmp_path / "model")
    return tmp_path / "model"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def sharded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "has no weights (such as model.safetensors)",
    ),
    "cut off": (
        lambda f: cut(f / "model.safetensors"),
        "model.safetensors is not whole: copy or download it again",
    ),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors is not whole"),
    "no header": (
        lambda f: (f / "model.safetensors").write_bytes(b"x" * 99),
        "model.safetensors is not whole",
    ),
    "odd header": (
        lambda f: (f / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]"),
        "model.safetensors is not whole",
    ),
    "a pointer": (
        lambda f: (f / "model.safetensors").write_bytes(LFS),
        "fetch the file itself with `git lfs pull`",
    ),
    "a pointer, old format": (
        lambda f: ((f / "model.safetensors").unlink(), (f / "pytorch_model.bin").write_bytes(LFS)),
        "pytorch_model.bin is not whole: it is a pointer of Git LFS",
    ),
    "a shard is missing": (
        sharded,
        "model-00002-of-00002.safetensors is missing, which model.safetensors.index",
    ),
    "config": (
        lambda f: (f / "config.json").write_text("{"),
        "config.json is not JSON: copy or download it again",
    ),
    "config, a list": (lambda f: (f / "config.json").write_text("[]"), "config.json holds no JSON object"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json cannot be read ("),
    "no tokenizer": (
        lambda f: [path.unlink() for path in f.glob("tokenizer*")],
        "has no tokenizer: copy tokenizer.json into it",
    ),
}


@pytest.mark.parametrize(("damage", "words"), FAULTS.values(), ids=FAULTS)
def test_what_is_missing_or_damaged_is_named(
    folder: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(folder)
    with pytest.raises(ModelError) as caught:
        read_model_files(str(folder), "student.model")
    assert str(caught.value).startswith("student.model: ")
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)


def test_files_that_no_library_loads_may_be_anything(folder: Path) -> None:
    (folder / "consolidated.safetensors").write_bytes(LFS)
    (folder / "trainer_state.pt").write_bytes(b"")
    read_model_files(str(folder), "student.model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"consolidated\.safetensors is not whole"):
        read_model_files(str(folder), "student.model")
    (folder / "consolidated.safetensors").rename(folder / "training_args.bin")
    with pytest.raises(ModelError, match="has no weights"):
        read_model_files(str(folder), "student.model")


def test_a_whole_folder_is_read_without_its_weights(folder: Path) -> None:
    files = read_model_files(str(folder), "student.model")
    assert (files.max_positions, len(files.vocabulary), files.vocabulary["<eos>"]) == (128, 19, 2)


def test_a_model_within_another_has_its_lengths_one_level_down(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "outer", "text_config": config}))
    assert read_model_files(str(folder), "model").max_positions == 128
    (folder / "config.json").write_text(json.dumps({"n_positions": 7}))
    assert read_model_files(str(folder), "model").max_positions == 7
    (folder / "config.json").write_text("{}")
    assert read_model_files(str(folder), "model").max_positions is None


def test_a_slow_tokenizer_is_left_to_transformers(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert read_model_files(str(folder), "model").vocabulary == {}


def test_one_id_with_two_texts_is_another_tokenizer(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text()
    assert '"#"' in text
    (folder / "tokenizer.json").write_text(text.replace('"#"', '"?"'))
    teacher, student = read_model_files(str(folder), "teacher"), read_model_files(STUDENT, "student")
    with pytest.raises(ModelError, match=r"different tokenizers \(token \d+ is '\?' and '#'\)"):
        check_pair(student, teacher, "teacher.serve.model")
    check_pair(student, read_model_files(TEACHER, "teacher"), "teacher.serve.model")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"student.max_new_tokens": 128},
            "student.max_new_tokens: 128 tokens after a prompt are more than the 128",
        ),
        ({"teacher.serve.max_model_len": 129}, "teacher.serve.max_model_len: 129 is more than the 128 of"),
        (
            {"teacher.serve.max_model_len": 64},
            "64 tokens after a prompt are more than the 64 that the teacher",
        ),
    ],
)
def test_lengths_that_no_prompt_fits_are_named(settings: dict[str, object], message: str) -> None:
    document = {
        "name": "run",
        "task": {"kind": "chain"},
        "teacher": {"serve": {"model": TEACHER}},
        "student": {"model": STUDENT, "max_new_tokens": 64},
    }
    config = parse_config(with_overrides(document, list(settings.items())))
    files = [read_model_files(model, "model") for model in (STUDENT, TEACHER)]
    with pytest.raises(ModelError, match=message):
        check_longest(config, *files)
    check_longest(parse_config(document), *files)


@pytest.mark.parametrize(
    ("lost", "lacks"), [("model.safetensors", "has no weights"), ("tokenizer*", "has no tokenizer")]
)
def test_a_model_half_of_which_is_in_the_cache_is_refused_at_once_without_the_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lost: str, lacks: str
) -> None:
    hub_problems: list[str | None] = ["is not to be had"]
    monkeypatch.setattr(folders, "check_model_folder", lambda model, setting: None)
    monkeypatch.setattr(folders, "cached_folder", lambda model: str(folder))
    monkeypatch.setattr(hub, "_problem", lambda *_: hub_problems[0])
    assert read_model_files("owner/name", "student.model").max_positions == 128
    for path in folder.glob(lost):
        path.unlink()
    with pytest.raises(ModelError) as caught:
        read_model_files("owner/name", "student.model")
    message = str(caught.value)
    assert message.startswith(
        "student.model: the local cache has only a part of the hub's model 'owner/name': "
    )
    assert lacks in message
    assert "is not to be had: download the rest" in message
    # Where the hub answers, the loaders fetch the rest.
    hub_problems[0] = None
    read_model_files("owner/name", "student.model")


def test_a_micro_batch_that_the_longest_sequence_does_not_fit_in_is_named() -> None:
    prompts = [(1,) * 5, (1,) * 9]
    for enough in (None, 29, 512):
        check_micro_batch(prompts, 20, enough)
    with pytest.raises(
        ConfigError,
        match=r"^trainer.micro_batch_tokens: 28 tokens are fewer than the 29 of the longest prompt and "
        "student.max_new_tokens 20: set it to 29 or more",
    ):
        check_micro_batch(prompts, 20, 28)
