"""Weights & Biases: set up by its own variables, such as WANDB_API_KEY, WANDB_PROJECT and WANDB_MODE=offline."""

import io
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from adaswitch.errors import EnvironmentProblem
from trainer.trackers.base import PROJECT, Picture, Place, Plain, Table

FINISH_TIMEOUT_S = 20.0
"""The number of seconds that W&B has to upload the rest. What it has written to the disk, ``wandb sync`` uploads."""


class Wandb:
    """A ``Tracker`` that logs to W&B, or offline into the folder ``wandb`` of the run directory."""

    def __init__(self, place: Place) -> None:
        import wandb  # an extra of its own

        self._wandb: Any = wandb
        self._require_somebody()
        identity = place.identity("wandb")
        if identity is None:
            identity = f"{place.name}-{secrets.token_hex(4)}"
            place.keep_identity("wandb", identity)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=place.name,
            id=identity,
            resume="allow",
            dir=str(place.folder),
            reinit="create_new",
            # The run's own output is nobody's but its log's.
            settings=wandb.Settings(console="off", finish_timeout=FINISH_TIMEOUT_S),
        )
        # W&B's own steps can only grow, and a run that goes on does some again.
        self._run.define_metric("*", step_metric="step")

    def _require_somebody(self) -> None:
        """Raises ``EnvironmentProblem`` if nobody is signed in: otherwise W&B would ask, and the run would wait."""
        online = self._wandb.setup().settings.mode in ("online", "run", "shared")
        if online and not self._wandb.login(prompt=False, verify=False):
            raise EnvironmentProblem(
                "nobody is signed in: `wandb login`, or set WANDB_API_KEY, or WANDB_MODE=offline"
            )

    def settings(self, settings: Mapping[str, Plain]) -> None:
        """See ``Tracker``."""
        self._run.config.update(dict(settings), allow_val_change=True)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See ``Tracker``."""
        self._run.log({**values, "step": step})

    def evaluation(self, marks: Mapping[str, float], step: int) -> None:
        """See ``Tracker``."""
        self.scalars(marks, step)

    def table(self, table: Table, step: int) -> None:
        """See ``Tracker``."""
        rows = [list(row) for row in table.rows]
        self._run.log({table.name: self._wandb.Table(columns=list(table.columns), data=rows), "step": step})

    def picture(self, picture: Picture, step: int) -> None:
        """See ``Tracker``."""
        image = Image.open(io.BytesIO(picture.png))
        self._run.log({picture.name: self._wandb.Image(image), "step": step})

    def model(self, folder: Path) -> None:
        """See ``Tracker``: it stands in the run's summary."""
        self._run.summary["final_model"] = str(folder)

    def close(self, *, complete: bool) -> None:
        """See ``Tracker``."""
        self._run.finish(exit_code=0 if complete else 1)
