"""``adaswitch export``: into a folder, onto the hub, as GGUF; and what it refuses, in one line."""

from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner, Result

from adaswitch.commands.cli import app
from adaswitch.export.gguf import VARIABLE
from adaswitch.runs.directory import RunDirectory
from tests.finished_runs import STUDENT, damage_weights, finished
from tests.hub_server import TOKEN, hub
from tests.runs import begun, settings


def export(run: RunDirectory, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", str(run.path), *arguments])


def refused(run: RunDirectory, *arguments: str) -> str:
    """The one line with which the command refuses."""
    done = export(run, *arguments)
    assert done.exit_code == 2, done.output
    [line] = done.stderr.splitlines()
    return line


def test_the_newest_checkpoint_goes_into_a_folder(tmp_path: Path) -> None:
    run, to = finished(tmp_path), tmp_path / "deep" / "student"
    done = export(run, "--to", str(to))
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [f"the model after 8 steps is in {to}"]
    assert (to / "model.safetensors").read_bytes() == (STUDENT / "model.safetensors").read_bytes()
    assert "| updates | 8, of" in (to / "README.md").read_text()


def test_a_step_can_be_named(tmp_path: Path) -> None:
    run, to = finished(tmp_path), tmp_path / "student"
    to.mkdir()  # an empty folder will do
    assert export(run, "--to", str(to), "--step", "4").exit_code == 0
    assert "| updates | 4, of" in (to / "README.md").read_text()
    said = refused(run, "--to", str(tmp_path / "other"), "--step", "5")
    assert "there is no checkpoint of step 5; there are those of steps 4, 8" in said


def test_a_damaged_checkpoint_is_passed_over_with_a_note(tmp_path: Path) -> None:
    run, to = finished(tmp_path), tmp_path / "student"
    damage_weights(run.checkpoint(8))
    done = export(run, "--to", str(to))
    assert done.exit_code == 0, done.output
    note, said = done.stdout.splitlines()
    assert note.startswith(
        f"note: the checkpoint {run.checkpoint(8)} is damaged and passed over: model.safetensors"
    )
    assert said == f"the model after 4 steps is in {to}"
    assert "the checkpoint is damaged: model.safetensors" in refused(
        run, "--to", str(to / "x"), "--step", "8"
    )
    damage_weights(run.checkpoint(4))
    assert "no checkpoint here is whole; the checkpoint" in refused(run, "--to", str(to / "x"))


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    begun(settings(tmp_path), num_steps=1)
    said = refused(RunDirectory(tmp_path / "run"), "--to", str(tmp_path / "student"))
    assert said.startswith(f"error: {tmp_path}/run: the run has no checkpoint yet: let it go on")
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_what_is_there_is_not_overwritten(tmp_path: Path, taken: str) -> None:
    run, to = finished(tmp_path), tmp_path / "student"
    if taken == "folder":
        to.mkdir()
    (to if taken == "file" else to / "file").write_text("mine")
    assert refused(run, "--to", str(to)) == (
        f"error: --to {to}: it is there already: name a folder that is not, or remove it"
    )


def test_options_that_say_nothing_are_refused(tmp_path: Path) -> None:
    run = finished(tmp_path)
    assert "say where to: --to DIR, --push ORG/NAME, or both" in refused(run)
    assert "--private is for --push" in refused(run, "--to", "x", "--private")
    assert "not a run directory" in refused(RunDirectory(tmp_path), "--to", "x")


def test_gguf_lies_beside_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, to = finished(tmp_path), tmp_path / "student"
    converter = tmp_path / "convert.sh"
    converter.write_text('#!/bin/sh\nprintf GGUF > "$3"\n')
    converter.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(converter))
    done = export(run, "--to", str(to), "--gguf")
    assert done.exit_code == 0, done.output
    assert (to / "run.gguf").read_bytes() == b"GGUF"
    monkeypatch.setenv(VARIABLE, "nowhere")
    assert "--gguf: GGUF_CONVERTER names nowhere" in refused(run, "--to", str(tmp_path / "other"), "--gguf")
    assert not (tmp_path / "other").exists()


# How huggingface_hub hands a file to httpx.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_it_goes_to_the_hub_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path)
    before = sorted(path.name for path in run.path.iterdir())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its storage is more than a stand-in can be
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        done = export(run, "--push", "org/student", "--private")
        assert done.exit_code == 0, done.output
        assert server.repositories == {"org/student": True}
        assert server.files["model.safetensors"] == (STUDENT / "model.safetensors").read_bytes()
        assert server.files["README.md"].startswith(b"---\nlibrary_name: transformers")
        assert not any(name.startswith("trainer_state") for name in server.files)
        server.status = 403
        assert "may not write there" in refused(run, "--push", "org/student")
    assert done.stdout.splitlines()[-1] == f"the model is at {server.url}/org/student/commit/{'1' * 40}"
    assert sorted(path.name for path in run.path.iterdir()) == before
    assert "--push student: write it as ORG/NAME" in refused(run, "--push", "student")
