"""``adaswitch sft``: what it says, what it refuses, and that the student's folder is there whole or not at all."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adaswitch.commands import sft
from adaswitch.commands.cli import app
from adaswitch.config.run import RunConfig
from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import RunDirectory
from tests.finished_runs import STUDENT, checkpoint
from tests.runs import settings

WARM = ["warm_start={model: models/chain-student, num_steps: 8}", "policy={kind: on_policy}"]


def written(folder: Path, *overrides: str) -> tuple[Path, Path]:
    """The file of a config with a warm start, and the folder that the student is to go to."""
    target = folder / "models" / "warm"
    config = settings(folder / "runs", *WARM, f"student.model={target}", *overrides)
    write_config(config, folder / "config.yaml")
    return folder / "config.yaml", target


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, str]]:
    """The runs that were to be followed, with their commands. Each leaves a checkpoint of the demo's student."""
    runs: list[tuple[RunConfig, str]] = []

    def follow(config: RunConfig, should_stop: object, command: str) -> bool:
        runs.append((config, command))
        checkpoint(RunDirectory.create(config), config.trainer.num_steps)
        return True

    monkeypatch.setattr(sft, "follow_local_run", follow)
    return runs


def call(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["sft", "--config", str(config), *arguments])


def test_the_trained_model_goes_to_where_the_run_looks_for_its_student(tmp_path: Path, followed) -> None:
    config, target = written(tmp_path)
    done = call(config, "seed=4")
    assert done.exit_code == 0, done.output
    assert f"the student is in {target} (student.model)" in done.stdout
    assert (target / "model.safetensors").read_bytes() == (STUDENT / "model.safetensors").read_bytes()
    assert not (target / "trainer_state.pt").exists()
    [(run, command)] = followed
    assert (run.name, run.seed, run.policy.name) == ("run-sft", 4, "sft")
    assert command == f"adaswitch sft --config {config} seed=4"


def test_a_student_that_is_there_is_left_alone(tmp_path: Path, followed) -> None:
    config, target = written(tmp_path)
    assert call(config).exit_code == call(config).exit_code == 0
    assert "is there already (student.model): nothing is started" in call(config).stdout
    assert len(followed) == 1
    (target / "config.json").unlink()
    refused = call(config)
    assert (refused.exit_code, len(followed)) == (2, 1)
    assert "is there already, and is no model folder" in refused.stderr


def test_a_stopped_run_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sft, "follow_local_run", lambda config, should_stop, command: False)
    config, target = written(tmp_path)
    target.mkdir(parents=True)  # an empty folder is as good as none
    assert call(config).exit_code == 130
    assert list(target.iterdir()) == []


def test_another_run_is_begun_beside_the_first(tmp_path: Path, followed) -> None:
    config, target = written(tmp_path)
    call(config)
    assert call(config, "--new-name", f"student.model={target}-2").exit_code == 0
    assert [run.name for run, _ in followed] == ["run-sft", "run-sft-2"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["warm_start=null"], "warm_start: nothing says which model is fine-tuned"),
        (["warm_start.modle=x"], "warm_start.modle: unknown setting"),
        (["student.model=README.md/warm"], "cannot write to README.md/warm"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, followed, overrides: list[str], words: str
) -> None:
    refused = call(written(tmp_path)[0], *overrides)
    assert (refused.exit_code, followed) == (2, [])
    [line] = refused.stderr.splitlines()
    assert words in line


def test_a_run_whose_student_is_still_to_be_made_says_how(tmp_path: Path) -> None:
    config, target = written(tmp_path)
    refused = CliRunner().invoke(app, ["run", "--config", str(config)])
    assert refused.exit_code == 2
    line = refused.stderr.splitlines()[-1]
    assert f"student.model: there is no folder '{target}' yet: make it first, with `adaswitch sft`" in line
    assert not (tmp_path / "runs").exists()
