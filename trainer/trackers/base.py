"""``Tracker``: what every tracker of runs is told, and what it is told it with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from adaswitch.storage import write_atomically

PROJECT = "adaswitch"
"""The project, or experiment, of all runs, unless the tracker's own environment variable names another."""
Cell = str | int | float | None
Plain = str | int | float | bool


@dataclass(frozen=True)
class Table:
    """A table with a name, such as ``rollouts``."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """A value for each of ``columns``."""


@dataclass(frozen=True)
class Picture:
    """A picture with a name, as the bytes of a PNG file."""

    name: str
    png: bytes
    width: int
    height: int
    """In pixels, as ``width``."""


class Tracker(Protocol):
    """Receives what happens in a run. Any method may raise: then this tracker gets no more of the run.

    All methods are called in one thread, in the order of what happens. ``step`` counts updates.
    """

    def settings(self, settings: Mapping[str, Plain]) -> None:
        """All settings of the run, each by its path, as in ``trainer.num_steps``. Called first."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """The figures of the update that makes version ``step`` + 1 of the weights, by their names."""

    def evaluation(self, marks: Mapping[str, float], step: int) -> None:
        """The marks after ``step`` updates, and the bounds of their intervals, by their names."""

    def table(self, table: Table, step: int) -> None:
        """Samples of the rollouts of ``step``."""

    def picture(self, picture: Picture, step: int) -> None:
        """A picture of the rollouts of ``step``."""

    def model(self, folder: Path) -> None:
        """The folder of the trained model, once the run is complete."""

    def close(self, *, complete: bool) -> None:
        """Write what is left, and end. ``complete`` is False for a run that was stopped or has failed."""


@dataclass(frozen=True)
class Place:
    """The run that is tracked: what a tracker is made with."""

    name: str
    """The run's name."""
    folder: Path
    """The run directory."""
    start: int
    """The number of updates before this attempt. What an earlier attempt told of later ones happens again."""
    marks: tuple[str, ...]
    """The names of the marks that evaluations give, the main one first."""

    def identity(self, tracker: str) -> str | None:
        """What ``tracker`` calls this run, if an earlier attempt has kept it."""
        path = self._file(tracker)
        return path.read_text(encoding="utf-8").strip() or None if path.is_file() else None

    def keep_identity(self, tracker: str, identity: str) -> None:
        """Keep what ``tracker`` calls this run, so that the next attempt goes on there. Raises ``StorageError``."""
        path = self._file(tracker)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, f"{identity}\n".encode())

    def _file(self, tracker: str) -> Path:
        return self.folder / "trackers" / tracker


def flat(document: Mapping[str, object], within: str = "") -> dict[str, Plain]:
    """The settings of a nested ``document`` by their paths. What is not set is left out; lists become JSON."""
    found: dict[str, Plain] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{within}{name}.")
        elif isinstance(value, str | int | float):
            found[f"{within}{name}"] = value
        elif isinstance(value, Sequence):
            found[f"{within}{name}"] = json.dumps(value)
    return found
