"""MLflow, the real package, on a local file of SQLite."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tracking import SETTINGS, TABLE, picture, place, tell_all
from trainer.trackers.mlflow import MLflow

pytest.importorskip("mlflow", reason="mlflow is not installed: make setup")
pytestmark = pytest.mark.filterwarnings("ignore::Warning:alembic", "ignore::Warning:sqlalchemy")


@pytest.fixture(autouse=True, scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One file for all tests here, since MLflow takes seconds to make one."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        patched.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patched.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


@pytest.fixture(autouse=True)
def experiment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test has an experiment of its own."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)


def runs(name: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name(name)
    return list(client.search_runs([experiment.experiment_id]))


def history(run_id: str, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    return [(metric.step, metric.value) for metric in MlflowClient().get_metric_history(run_id, name)]


def artifact(run: Any, name: str) -> bytes:
    return (Path(run.info.artifact_uri.removeprefix("file://")) / name).read_bytes()


def test_all_that_is_told_is_there(tmp_path: Path) -> None:
    tell_all(MLflow(place(tmp_path)), tmp_path / "final")
    [run] = runs(tmp_path.name)
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params == {name: str(value) for name, value in SETTINGS.items()}
    assert history(run.info.run_id, "train/loss") == [(0, 1.5), (1, 0.5)]
    assert run.data.metrics["eval/exact_match_low"] == 0.4
    assert run.data.tags["final_model"] == str(tmp_path / "final")
    table = json.loads(artifact(run, "rollouts/step-000001.json"))
    assert table == {"columns": list(TABLE.columns), "data": [list(row) for row in TABLE.rows]}
    assert artifact(run, "writers/step-000001.png") == picture().png


def test_a_run_that_goes_on_is_the_same_run_there(tmp_path: Path) -> None:
    first = MLflow(place(tmp_path))
    first.settings(SETTINGS)
    first.scalars({"train/loss": 1.0}, 0)
    first.close(complete=False)
    assert [run.info.status for run in runs(tmp_path.name)] == ["KILLED"]
    second = MLflow(place(tmp_path, start=1))
    second.settings({**SETTINGS, "seed": 4, "trainer.num_steps": 9})
    second.scalars({"train/loss": 2.0}, 1)
    assert [run.info.status for run in runs(tmp_path.name)] == ["RUNNING"]
    second.close(complete=True)
    [run] = runs(tmp_path.name)
    assert run.info.status == "FINISHED"
    assert history(run.info.run_id, "train/loss") == [(0, 1.0), (1, 2.0)]
    assert (run.data.params["seed"], run.data.tags["changed.seed"]) == ("3", "4")
    assert run.data.params["trainer.num_steps"] == "9"


def test_a_run_that_was_deleted_there_begins_another(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    MLflow(place(tmp_path)).close(complete=False)
    [old] = runs(tmp_path.name)
    MlflowClient().delete_run(old.info.run_id)
    MLflow(place(tmp_path, start=1)).close(complete=True)
    [new] = runs(tmp_path.name)
    assert new.info.run_id == place(tmp_path).identity("mlflow") != old.info.run_id


def test_many_settings_and_odd_names_fit(tmp_path: Path) -> None:
    tracker = MLflow(place(tmp_path))
    tracker.settings({f"setting.{number}": "x" * 9000 for number in range(250)})
    tracker.evaluation({"eval/critical thinking (a)/exact_match": 0.5}, 0)
    tracker.close(complete=True)
    [run] = runs(tmp_path.name)
    assert len(run.data.params) == 250
    assert run.data.metrics == {"eval/critical thinking _a_/exact_match": 0.5}
