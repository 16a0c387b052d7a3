"""Checkpoints on disk: whole or not there, damage is found and named, and the one before is used."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from adaswitch.config.trainer import TrainerConfig
from adaswitch.errors import DataError, NonFiniteError, StorageError
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.seal import SEAL, damage
from tests.disk import file_size_limit
from trainer.checkpoint import newest_whole, save_checkpoint
from trainer.learner import Learner

CONFIG = TrainerConfig()


def load(folder: str) -> Learner:
    return Learner.from_folder(folder, CONFIG, "cpu")


@pytest.fixture(scope="module")
def learner() -> Learner:
    learner = load("models/chain-student")
    for parameter in learner.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    learner.optimizer.step()
    return learner


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained("models/chain-student")


@pytest.fixture(scope="module")
def saved(learner, tokenizer, tmp_path_factory) -> Path:
    """A run with the checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("saved")
    run = RunDirectory.create(load_config("configs/demo.yaml", [f"runs_dir={folder}"]))
    for step in (1, 2):
        save_checkpoint(run, step, learner, tokenizer, keep=2)
    return run.path


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(saved, tmp_path / "run")))


def cut(name: str) -> Callable[[Path], object]:
    def do(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return do


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def flip(name: str) -> Callable[[Path], object]:
    def do(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) - 9] ^= 1
        (folder / name).write_bytes(bytes(content))

    return do


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def zeros(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(bytes((folder / name).stat().st_size))


EITHER = [
    (cut("model.safetensors"), "model.safetensors"),
    (remove("model.safetensors"), "model.safetensors is missing"),
    (zeros("model.safetensors"), "model.safetensors"),
    (remove("config.json"), "config.json is missing"),
    (cut("trainer_state.pt"), "trainer_state.pt"),
    (zeros("trainer_state.pt"), "trainer_state.pt"),
    (remove("trainer_state.pt"), "trainer_state.pt is missing"),
    (empty, "it is empty"),
]
SEALED_ONLY = [
    (flip("model.safetensors"), "model.safetensors is not what was written"),
    (flip("trainer_state.pt"), "trainer_state.pt is not what was written"),
    (remove("tokenizer.json"), "tokenizer.json is missing"),
    (zeros(SEAL), f"{SEAL} holds a line that is no checksum"),
    (lambda folder: (folder / SEAL).write_bytes(b""), f"{SEAL} is empty"),
    (lambda folder: (folder / SEAL).write_bytes(b"\xff"), "UnicodeDecodeError"),
]


def check_the_one_before_is_used(run: RunDirectory, words: str) -> None:
    said: list[str] = []
    found = newest_whole(run, load, said.append)
    assert found is not None
    assert found[1] == 1
    assert len(said) == 1
    assert said[0].startswith(f"warning: the checkpoint {run.checkpoint(2)} is damaged: ")
    assert words in said[0]
    assert "The run goes on from step 1, and steps 2 to 2 are done again" in said[0]
    assert "\n" not in said[0]
    # The next checkpoint of the same step takes the place of the damaged one.
    assert run.checkpoint_steps() == [1]
    assert (run.checkpoints / "step-2.damaged").is_dir()


@pytest.mark.parametrize(("harm", "words"), [*EITHER, *SEALED_ONLY])
def test_damage_is_found_and_named(run: RunDirectory, harm, words) -> None:
    assert damage(run.checkpoint(2)) is None
    harm(run.checkpoint(2))
    assert words in (damage(run.checkpoint(2)) or "")


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(run: RunDirectory) -> None:
    flip("model.safetensors")(run.checkpoint(2))
    check_the_one_before_is_used(run, "model.safetensors is not what was written (its checksum differs)")


@pytest.mark.parametrize(("harm", "words"), [EITHER[0], EITHER[3], *EITHER[4:6], EITHER[7]])
def test_a_checkpoint_of_an_older_version_is_looked_at_too(run, harm, words) -> None:
    for step in (1, 2):
        (run.checkpoint(step) / SEAL).unlink()
    assert damage(run.checkpoint(2)) is None
    harm(run.checkpoint(2))
    check_the_one_before_is_used(run, words)


def test_a_state_of_another_step_is_damage(run: RunDirectory) -> None:
    shutil.rmtree(run.checkpoint(2))
    shutil.copytree(run.checkpoint(1), run.checkpoint(2))
    (run.checkpoint(2) / SEAL).unlink()
    check_the_one_before_is_used(run, "is of step 1, and not of step 2")


def test_if_none_is_whole_the_newest_is_named_with_the_fix_and_all_stay(run: RunDirectory) -> None:
    for step in (1, 2):
        cut("trainer_state.pt")(run.checkpoint(step))
    with pytest.raises(DataError) as caught:
        newest_whole(run, load, print)
    assert f"{run.checkpoints}: no checkpoint here is whole" in str(caught.value)
    assert "step-2: trainer_state.pt is not what was written" in str(caught.value)
    assert "begin another run with --new-name or another name" in str(caught.value)
    assert run.checkpoint_steps() == [1, 2]


def test_without_checkpoints_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert newest_whole(RunDirectory(tmp_path), load, print) is None


def test_the_whole_newest_checkpoint_is_used_as_it_was_written(run, learner) -> None:
    found = newest_whole(run, load, print)
    assert found is not None
    assert found[1] == 2
    for name, weight in found[0].weights().items():
        assert torch.equal(weight, learner.weights()[name])
    states = zip(found[0].optimizer.state.values(), learner.optimizer.state.values(), strict=True)
    assert all(torch.equal(one["exp_avg"], other["exp_avg"]) for one, other in states)
    files = {path.name for path in run.checkpoint(2).iterdir()}
    assert {line[66:] for line in (run.checkpoint(2) / SEAL).read_text().splitlines()} == files - {SEAL}


@pytest.mark.parametrize("limit", [1_000, 100_000, 300_000])
def test_a_checkpoint_that_does_not_fit_is_named_and_nothing_of_it_stays(
    run: RunDirectory, learner, tokenizer, limit: int
) -> None:
    """A text file, the weights and the optimizer's state are the first that do not fit."""
    with file_size_limit(limit), pytest.raises(StorageError) as caught:
        save_checkpoint(run, 3, learner, tokenizer, keep=1)
    assert f"{run.checkpoint(3)} cannot be written, because it would be larger" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-1", "step-2"]


def test_what_a_checkpoint_needs_is_said(run, learner, tokenizer, monkeypatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tokenizer, "save_pretrained", full)
    with pytest.raises(StorageError, match=r"the disk is full \(7\d\d\.\d KiB are needed, .* are free\)"):
        save_checkpoint(run, 3, learner, tokenizer, keep=1)


def test_weights_that_are_not_finite_are_never_saved(run: RunDirectory, tokenizer) -> None:
    learner = load("models/chain-student")
    learner.weights()["model.norm.weight"][0] = float("nan")
    words = r"the student's weights are not finite after step 3, at a learning rate of 3e-05, \(model\.norm\.weight"
    with pytest.raises(NonFiniteError, match=words):
        save_checkpoint(run, 3, learner, tokenizer, keep=1)
    assert run.checkpoint_steps() == [1, 2]


def test_a_lack_of_memory_is_nobodys_damage(run: RunDirectory) -> None:
    for step in (1, 2):
        (run.checkpoint(step) / SEAL).unlink()

    def too_large(folder: str) -> Learner:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        newest_whole(run, too_large, print)
    assert run.checkpoint_steps() == [1, 2]


def test_a_damaged_checkpoint_is_kept_as_long_as_a_whole_one_of_its_age(run, learner, tokenizer) -> None:
    flip("model.safetensors")(run.checkpoint(2))
    newest_whole(run, load, lambda line: None)
    (run.checkpoints / "step-1.damaged").write_text("no folder")
    for step, left in (
        (2, ["step-1", "step-1.damaged", "step-2", "step-2.damaged"]),
        (3, ["step-2", "step-2.damaged", "step-3"]),
        (4, ["step-3", "step-4"]),
    ):
        save_checkpoint(run, step, learner, tokenizer, keep=2)
        assert sorted(path.name for path in run.checkpoints.iterdir()) == left
