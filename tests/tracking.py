"""A tracker that notes what it is told, and what the real ones are told in their tests."""

from collections.abc import Mapping
from pathlib import Path

from tests.fakes import random_rollout
from trainer.trackers.base import Picture, Place, Plain, Table, Tracker
from trainer.trackers.samples import sample_picture

SETTINGS: dict[str, Plain] = {"name": "run", "seed": 3, "trainer.dtype": "float32", "trainer.resume": True}
TABLE = Table(
    "rollouts", ("prompt", "completion", "switched at"), (("3+4=", "1|2\n▸7", 2), ("<script>", "", None))
)


class Told:
    """A ``Tracker`` that keeps what it is told, in ``calls``."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def settings(self, settings: Mapping[str, Plain]) -> None:
        self.calls.append(("settings", settings))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.calls.append(("scalars", values, step))

    def evaluation(self, marks: Mapping[str, float], step: int) -> None:
        self.calls.append(("evaluation", marks, step))

    def table(self, table: Table, step: int) -> None:
        self.calls.append(("table", table, step))

    def picture(self, picture: Picture, step: int) -> None:
        self.calls.append(("picture", picture, step))

    def model(self, folder: Path) -> None:
        self.calls.append(("model", folder))

    def close(self, *, complete: bool) -> None:
        self.calls.append(("close", complete))


def place(folder: Path, start: int = 0, name: str = "run") -> Place:
    """The run directory ``folder`` as a tracker gets it."""
    return Place(name, folder, start, ("eval/exact_match",))


def picture() -> Picture:
    """A small picture."""
    return sample_picture([random_rollout(0)])


def tell_all(tracker: Tracker, folder: Path) -> None:
    """A whole short run: two steps, an evaluation, samples, the final model."""
    tracker.settings(SETTINGS)
    for step in (0, 1):
        tracker.scalars({"train/loss": 1.5 - step, "train/switch_rate": 0.25}, step)
    tracker.evaluation({"eval/exact_match": 0.5, "eval/exact_match_low": 0.4}, 2)
    tracker.table(TABLE, 1)
    tracker.picture(picture(), 1)
    tracker.model(folder)
    tracker.close(complete=True)
