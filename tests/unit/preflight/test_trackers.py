"""A tracker whose package is missing is named with the install command, before anything is started."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, EnvironmentProblem
from adaswitch.preflight.trackers import EXTRAS, check_trackers


def config(*trackers: str) -> RunConfig:
    document = {"name": "run", "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/any"}}
    return parse_config({**document, "trackers": list(trackers)})


def test_the_missing_one_is_named_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    here = importlib.util.find_spec("tensorboard")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: here if name == "tensorboard" else None)
    check_trackers(config("tensorboard"))
    check_trackers(config())
    for name in ("wandb", "mlflow", "trackio"):
        with pytest.raises(EnvironmentProblem) as caught:
            check_trackers(config("tensorboard", name))
        assert str(caught.value) == (
            f"trackers: {name} is not installed; get it with `uv pip install 'adaswitch[{name}]'`, or leave it out: "
            "trackers=[tensorboard]"
        )


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trackio").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    with pytest.raises(EnvironmentProblem, match=r"^trackers: trackio is not installed"):
        check_trackers(config("trackio"))


def test_names_are_known_and_stand_once() -> None:
    with pytest.raises(ConfigError, match="trackers"):
        config("neptune")
    with pytest.raises(ConfigError, match="trackers: names a tracker twice"):
        config("wandb", "wandb")


def test_every_tracker_has_its_extra() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    for name, extra in EXTRAS.items():
        packages = project["optional-dependencies"][extra]
        assert any(package.startswith(name) for package in packages), name
