"""Each attempt keeps what it ran on, without a host name or a path."""

import socket
from pathlib import Path

import pytest

from adaswitch.errors import DataError
from adaswitch.runs.attempts import begin_attempt
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.environment import kept_environment
from tests.runs import settings


def test_an_attempt_keeps_its_environment(tmp_path: Path) -> None:
    run = begin_attempt(settings(tmp_path)).run
    found = kept_environment(run)
    assert {"adaswitch", "Python", "system", "processor", "memory", "GPUs", "torch", "transformers"} <= set(
        found
    )
    assert socket.gethostname() not in found.values()
    assert str(Path.cwd()) not in str(found)


def test_the_newest_attempt_counts_and_an_older_version_has_none(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert kept_environment(run) == {}
    for number, version in (("9", "old"), ("10", "new"), ("copy", "other")):
        (run.attempts / number).mkdir(parents=True)
        (run.attempts / number / "environment.json").write_text(f'{{"Python": "{version}"}}')
    assert kept_environment(run) == {"Python": "new"}


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    run = begin_attempt(settings(tmp_path)).run
    (run.attempts / "1" / "environment.json").write_bytes(content)
    with pytest.raises(DataError, match=r"environment\.json: the file is damaged"):
        kept_environment(run)
