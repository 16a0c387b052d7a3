"""The trackers of a run: TensorBoard, Weights & Biases, MLflow, Trackio, each behind the Protocol ``Tracker``.

They repeat what the record files hold, and no run reads them. ← To add a tracker, add a file, a case in ``_make``, and
its name in ``adaswitch.config.trackers`` and its package in ``adaswitch.preflight.trackers``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.config.trackers import TrackerName
from adaswitch.runs.directory import RunDirectory
from trainer.trackers.base import Picture, Place, Table, Tracker, flat
from trainer.trackers.feed import Feed
from trainer.trackers.figures import STEP, figure_table

PATIENCE_S = 30.0
"""The number of seconds for which the end of a run waits for all its trackers."""


class Trackers:
    """All trackers of a run. They are told at once, and each takes it when it has time."""

    def __init__(
        self,
        run: RunDirectory,
        config: RunConfig,
        start: int,
        marks: Sequence[str],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """``start`` is the number of updates before this attempt; ``marks`` are the names that evaluations give."""
        place = Place(config.name, run.path, start, tuple(marks))
        self._patience_s = patience_s
        self._feeds = [Feed(name, place, partial(_make, name), _say) for name in config.trackers]
        settings = flat(config.model_dump(mode="json"))
        self._tell(lambda tracker: tracker.settings(settings))
        if start == 0:  # else they stand there from the first attempt
            self._tell(lambda tracker: tracker.table(figure_table(), 0))

    def figures(self, record: Mapping[str, float | int | None], step: int) -> None:
        """The figures of a step's record, by their names; see ``Tracker.scalars``. What is not known is left out."""
        known = {
            f"{STEP}{name}": float(value)
            for name, value in record.items()
            if value is not None and name != "step"
        }
        self._tell(lambda tracker: tracker.scalars(known, step))

    def evaluation(self, marks: Mapping[str, float], step: int) -> None:
        """See ``Tracker``."""
        self._tell(lambda tracker: tracker.evaluation(marks, step))

    def samples(self, table: Table, picture: Picture, step: int) -> None:
        """Samples of the rollouts of ``step``, as a table and as a picture."""
        self._tell(lambda tracker: tracker.table(table, step))
        self._tell(lambda tracker: tracker.picture(picture, step))

    def model(self, folder: Path) -> None:
        """See ``Tracker``."""
        self._tell(lambda tracker: tracker.model(folder))

    @property
    def is_empty(self) -> bool:
        """Whether there is nobody to tell."""
        return not self._feeds

    def close(self, *, complete: bool) -> None:
        """Close all trackers, and wait for them, but not for long."""
        deadline_s = time.monotonic() + self._patience_s
        for feed in self._feeds:
            feed.end(complete=complete)
        for feed in self._feeds:
            feed.wait(deadline_s)
        self._feeds = []

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        for feed in self._feeds:
            feed.send(call)


def _make(name: TrackerName, place: Place) -> Tracker:
    """The tracker of that name. It is imported only for a run that has it, since its package need not be there."""
    match name:
        case "tensorboard":
            from trainer.trackers.tensorboard import TensorBoard

            return TensorBoard(place)
        case "wandb":
            from trainer.trackers.wandb import Wandb

            return Wandb(place)
        case "mlflow":
            from trainer.trackers.mlflow import MLflow

            return MLflow(place)
        case "trackio":
            from trainer.trackers.trackio import Trackio

            return Trackio(place)


def _say(line: str) -> None:
    print(line, flush=True)
