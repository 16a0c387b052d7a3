"""TensorBoard: event files in the run directory, for ``tensorboard --logdir runs``.

If a run goes on, the events of what happens again are taken out of the files of earlier attempts. TensorBoard would do
so itself, with a warning each time that it reads them.
"""

import io
from collections.abc import Mapping
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from adaswitch.storage import write_atomically
from trainer.trackers.base import Cell, Picture, Place, Plain, Table

HYPER_PARAMETERS = "_hparams_"
EVALUATION = "eval/"


class TensorBoard:
    """A ``Tracker`` that writes event files."""

    def __init__(self, place: Place) -> None:
        folder = place.folder / "tensorboard"
        for file in sorted(folder.glob("events.out.tfevents.*")):
            take_back(file, place.start)
        self._marks = place.marks
        self._writer = SummaryWriter(str(folder))
        self._end: Summary | None = None

    def settings(self, settings: Mapping[str, Plain]) -> None:
        """See ``Tracker``. They stand under HPARAMS, with the marks."""
        experiment, start, self._end = hparams(dict(settings), dict.fromkeys(self._marks, 0.0))
        for summary in (experiment, start):
            self._add(summary, 0)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See ``Tracker``."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def evaluation(self, marks: Mapping[str, float], step: int) -> None:
        """See ``Tracker``."""
        self.scalars(marks, step)

    def table(self, table: Table, step: int) -> None:
        """See ``Tracker``. It stands under TEXT."""
        self._writer.add_text(table.name, markdown(table), step)

    def picture(self, picture: Picture, step: int) -> None:
        """See ``Tracker``. It stands under IMAGES."""
        image = Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=picture.png
        )
        self._add(Summary(value=[Summary.Value(tag=picture.name, image=image)]), step)

    def model(self, folder: Path) -> None:
        """See ``Tracker``. It stands under TEXT."""
        self._writer.add_text("final_model", str(folder))

    def close(self, *, complete: bool) -> None:
        """See ``Tracker``."""
        if self._end is not None:
            self._add(self._end, 0)
        self._writer.close()

    def _add(self, summary: Summary, step: int) -> None:
        self._writer._get_file_writer().add_summary(summary, step)


def take_back(file: Path, start: int) -> None:
    """Take the events out of ``file`` that happen again after ``start`` updates. Raises ``StorageError``.

    A record at its end that was not written to its end goes as well.
    """
    kept, dropped = io.BytesIO(), 0
    writer = RecordWriter(kept)
    for record in RawEventFileLoader(str(file)).Load():
        if _happens_again(Event.FromString(record), start):
            dropped += 1
        else:
            writer.write(record)
    if dropped or kept.tell() < file.stat().st_size:
        write_atomically(file, kept.getvalue())


def _happens_again(event: Event, start: int) -> bool:
    """Whether the events of an attempt that begins after ``start`` updates take the place of ``event``.

    An evaluation after ``start`` updates is on record already. The settings are written in each attempt.
    """
    tags = [value.tag for value in event.summary.value]
    if any(tag.startswith(HYPER_PARAMETERS) for tag in tags):
        return True
    if any(tag.startswith(EVALUATION) for tag in tags):
        return bool(event.step > start)
    return bool(tags) and bool(event.step >= start)


def markdown(table: Table) -> str:
    """``table`` in Markdown."""
    rows = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


def _cell(value: Cell) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\r", "").replace("\n", "↵ ")
