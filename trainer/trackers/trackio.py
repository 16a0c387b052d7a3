"""Trackio: local by default, in TRACKIO_DIR; TRACKIO_SPACE_ID or TRACKIO_SERVER_URL name another place."""

import io
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from trainer.trackers.base import PROJECT, Picture, Place, Plain, Table


class Trackio:
    """A ``Tracker`` that logs to Trackio, under the run's name with a mark of its own."""

    def __init__(self, place: Place) -> None:
        import trackio  # an extra of its own

        self._trackio: Any = trackio
        identity = place.identity("trackio")
        if identity is None:
            identity = f"{place.name}-{secrets.token_hex(3)}"
            place.keep_identity("trackio", identity)
        self._identity = identity
        self._run: Any = None

    def settings(self, settings: Mapping[str, Plain]) -> None:
        """See ``Tracker``. Trackio takes them as a run begins."""
        self._run = self._trackio.init(
            project=os.environ.get("TRACKIO_PROJECT") or PROJECT,
            name=self._identity,
            config=dict(settings),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See ``Tracker``."""
        self._run.log(dict(values), step=step)

    def evaluation(self, marks: Mapping[str, float], step: int) -> None:
        """See ``Tracker``."""
        self.scalars(marks, step)

    def table(self, table: Table, step: int) -> None:
        """See ``Tracker``."""
        rows = [list(row) for row in table.rows]
        self._run.log({table.name: self._trackio.Table(columns=list(table.columns), data=rows)}, step=step)

    def picture(self, picture: Picture, step: int) -> None:
        """See ``Tracker``."""
        image = Image.open(io.BytesIO(picture.png))
        self._run.log({picture.name: self._trackio.Image(image)}, step=step)

    def model(self, folder: Path) -> None:
        """See ``Tracker``."""
        self._run.log({"final_model": self._trackio.Markdown(str(folder))})

    def close(self, *, complete: bool) -> None:
        """See ``Tracker``."""
        if self._run is not None:
            self._run.finish()
