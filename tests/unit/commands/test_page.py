"""``adaswitch page`` and ``watch`` on the command line: a file, or one line on why not."""

import socket
from pathlib import Path

import pytest

from adaswitch.commands.cli import app
from adaswitch.commands.page import bind
from adaswitch.errors import EnvironmentProblem
from tests.pages import page_run
from tests.service_fixtures import inside


def test_the_page_is_written_into_the_runs_folder_or_elsewhere(tmp_path: Path) -> None:
    run = page_run(tmp_path)
    done = inside(app, "page", str(run.path))
    assert done.returncode == 0
    assert "page.html" in done.stdout
    assert "needs nothing else" in done.stdout
    other = tmp_path / "other.html"
    assert inside(app, "page", str(run.path), "--out", str(other)).returncode == 0
    assert other.read_bytes() == (run.path / "page.html").read_bytes()


def test_what_could_not_be_read_is_said(tmp_path: Path) -> None:
    run = page_run(tmp_path)
    run.evals.write_text("{\n")
    done = inside(app, "page", str(run.path))
    assert done.returncode == 0
    assert "note: " in done.stdout
    assert "eval.jsonl, line 1" in done.stdout


@pytest.mark.parametrize("command", ["page", "watch"])
def test_a_folder_that_is_no_run_is_one_line(command: str, tmp_path: Path, capsys) -> None:
    done = inside(app, command, str(tmp_path))
    assert done.returncode == 2
    assert "no run is here" in done.stdout + capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    run = page_run(tmp_path)
    done = inside(app, "page", str(run.path), "--out", str(tmp_path / "gone" / "page.html"))
    assert done.returncode == 2
    assert "--out:" in done.stdout


def test_a_port_in_use_is_answered_with_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=rf"cannot listen on 127\.0\.0\.1:{port}.*--port \d+"):
            bind("127.0.0.1", port)
