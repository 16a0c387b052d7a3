"""Files that last: whole or not at all, and one line that says why a file could not be written."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adaswitch import storage
from adaswitch.errors import EnvironmentProblem, StorageError
from adaswitch.storage import (
    append,
    complaint,
    error_number,
    remove_partials,
    whole_folder,
    write_atomically,
    writing,
)
from tests.disk import file_size_limit


def test_a_file_is_written_as_a_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("write", [write_atomically, append])
def test_what_cannot_be_written_is_named_and_leaves_all_as_it_was(tmp_path: Path, write) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old\n")
    with (
        file_size_limit(100),
        pytest.raises(StorageError, match=f"{path} cannot be written, because it would be"),
    ):
        write(path, b"new" * 100)
    assert path.read_bytes() == b"old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_said_as_such_with_what_is_needed_and_what_is_free(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(StorageError) as caught:
        append(path, b"x" * 3000)
    said = str(caught.value)
    assert said.startswith(f"{path} cannot be written, because the disk is full (2.9 KiB are needed, ")
    assert " are free): free some space there, or take a folder on another disk (runs_dir)" in said
    assert "\n" not in said
    assert isinstance(caught.value, EnvironmentProblem)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota on its disk is used up"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "input/output error"),
        (errno.ENAMETOOLONG, "file name too long"),
    ],
)
def test_each_cause_has_its_words_and_a_fix(number: int, words: str) -> None:
    said = complaint(Path("/nowhere/runs/demo/x"), number)
    assert words in said
    assert "runs_dir" in said
    assert "\n" not in said


def test_a_disk_without_room_for_more_files_is_said_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs("/")
    no_files = os.statvfs_result((*tuple(real)[:5], 1000, 0, 0, *tuple(real)[8:]))
    monkeypatch.setattr(storage, "_statistics", lambda path: no_files)
    assert "it can hold no more files" in complaint(Path("/x"), errno.ENOSPC)
    assert storage.is_full(Path("/x"))


def test_what_libraries_raise_is_understood(tmp_path: Path) -> None:
    """The errors are real ones: of safetensors, of torch given a file, and of torch given a path."""
    weights = {"w": torch.zeros(1000)}

    def with_a_file() -> None:
        with (tmp_path / "x").open("wb") as file:
            torch.save(weights, file)

    for save in (
        lambda: save_file(weights, tmp_path / "x"),
        with_a_file,
        lambda: torch.save(weights, tmp_path / "x"),
    ):
        with (
            pytest.raises(StorageError, match=r"x cannot be written"),
            file_size_limit(500),
            writing(tmp_path / "x"),
        ):
            save()


def test_the_number_behind_an_error_is_found() -> None:
    assert error_number(Exception("No space left on device (os error 28)")) == errno.ENOSPC
    assert (
        error_number(RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")) == 28
    )
    assert error_number(ValueError("another thing")) is None
    behind = RuntimeError("unexpected pos 704 vs 598")
    behind.__context__ = OSError(errno.EDQUOT, "quota")
    assert error_number(behind) == errno.EDQUOT
    behind.__context__ = FileNotFoundError(errno.ENOENT, "looked for in vain")
    assert error_number(behind) is None


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), writing(Path("x")):
        raise ZeroDivisionError


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    for name in (".a.1.partial", ".b.partial", "c.partial", ".d"):
        (tmp_path / name).touch()
    for name in (".step-1.7.partial", ".step-2.8.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    with storage.held(tmp_path / ".step-2.8.partial"):
        remove_partials(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".d", ".step-2.8.partial", "c.partial"]
    remove_partials(tmp_path)
    assert not (tmp_path / ".step-2.8.partial").exists()
    remove_partials(tmp_path / "nowhere")


def test_a_file_and_its_folder_are_flushed_before_the_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        done.append(
            f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name.partition('.')[0] or 'file'}"
        )
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        done.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "a", b"x")
    assert done == ["flush file", "rename", f"flush {tmp_path.name}"]
    done.clear()
    append(tmp_path / "b", b"x")
    append(tmp_path / "b", b"x")
    assert done == ["flush b", f"flush {tmp_path.name}", "flush b"]


def test_a_folder_takes_its_place_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "made" / "final"
    for content in ("old", "new"):
        with whole_folder(place) as folder:
            assert not (folder / "file").exists()
            (folder / "file").write_text(content)
        assert (place / "file").read_text() == content

    def break_off() -> None:
        with whole_folder(place) as folder:
            (folder / "file").write_text("broken off")
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert (place / "file").read_text() == "new"
    assert [path.name for path in place.parent.iterdir()] == ["final"]


def test_the_earlier_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch
) -> None:
    place, replace = tmp_path / "final", os.replace
    with whole_folder(place) as folder:
        (folder / "file").write_text("old")

    def refuse(source: Path, target: Path) -> None:
        if target == place and ".earlier" not in str(source):
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match=f"{place} cannot be written"), whole_folder(place) as folder:
        (folder / "file").write_text("new")
    assert (place / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
