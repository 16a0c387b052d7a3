"""MLflow: set up by its own variables, MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME."""

import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.trackers.base import PROJECT, Picture, Place, Plain, Table

NOT_IN_A_NAME = re.compile(r"[^\w\-./ :]")
LONGEST_VALUE = 500
"""The most characters of a setting's value that every version of MLflow takes."""
PARAMS_AT_ONCE = 100


class MLflow:
    """A ``Tracker`` that logs to an MLflow server, or into a file such as ``sqlite:///mlflow.db``."""

    def __init__(self, place: Place) -> None:
        # An extra of its own.
        from mlflow import MlflowClient, entities

        self._client: Any = MlflowClient()
        self._entities: Any = entities
        self._id = self._found(place.identity("mlflow")) or self._begun(place)

    def _found(self, identity: str | None) -> str | None:
        """The run of an earlier attempt, as far as it is still there."""
        from mlflow.exceptions import MlflowException

        if identity is None:
            return None
        try:
            run = self._client.get_run(identity)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if run.info.lifecycle_stage != "active":
            return None
        self._client.update_run(identity, status="RUNNING")
        return identity

    def _begun(self, place: Place) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = (
            self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        )
        identity = str(self._client.create_run(experiment_id, run_name=place.name).info.run_id)
        place.keep_identity("mlflow", identity)
        return identity

    def settings(self, settings: Mapping[str, Plain]) -> None:
        """See ``Tracker``. MLflow lets none change: what has changed in a later attempt is kept as a tag."""
        texts = {name: str(value)[:LONGEST_VALUE] for name, value in settings.items()}
        known = self._client.get_run(self._id).data.params
        new = [self._entities.Param(name, text) for name, text in texts.items() if name not in known]
        for first in range(0, len(new), PARAMS_AT_ONCE):
            self._client.log_batch(self._id, params=new[first : first + PARAMS_AT_ONCE])
        tags = [
            self._entities.RunTag(f"changed.{name}", text)
            for name, text in texts.items()
            if known.get(name, text) != text
        ]
        if tags:
            self._client.log_batch(self._id, tags=tags)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See ``Tracker``."""
        now_ms = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(_name(name), float(value), now_ms, step) for name, value in values.items()
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def evaluation(self, marks: Mapping[str, float], step: int) -> None:
        """See ``Tracker``."""
        self.scalars(marks, step)

    def table(self, table: Table, step: int) -> None:
        """See ``Tracker``: it is an artifact, in the form of MLflow's own tables."""
        document: dict[str, Any] = {
            "columns": list(table.columns),
            "data": [list(row) for row in table.rows],
        }
        self._client.log_dict(self._id, document, f"{table.name}/step-{step:06d}.json")

    def picture(self, picture: Picture, step: int) -> None:
        """See ``Tracker``: it is an artifact."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"step-{step:06d}.png"
            file.write_bytes(picture.png)
            self._client.log_artifact(self._id, str(file), picture.name)

    def model(self, folder: Path) -> None:
        """See ``Tracker``: it is a tag."""
        self._client.set_tag(self._id, "final_model", str(folder))

    def close(self, *, complete: bool) -> None:
        """See ``Tracker``."""
        self._client.set_terminated(self._id, "FINISHED" if complete else "KILLED")


def _name(name: str) -> str:
    """``name`` in the characters that MLflow takes."""
    return NOT_IN_A_NAME.sub("_", name)
