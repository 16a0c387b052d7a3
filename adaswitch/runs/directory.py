"""The run directory ``runs/<name>/``: where its files are, and how they are written and read.

config.yaml            every setting of the newest attempt, including the defaults
status.json            where the run stands, how it ended, the command that goes on
inputs.json            the fingerprints of the data and the models that the run was begun with
attempts/N/            the settings, the environment and the logs of each attempt, counted from 1
logs                   a link to the newest of these
metrics.jsonl          an object a step
eval.jsonl             an object an evaluation
notes.txt              a line a remark on the data, such as how many records were left out
rollouts/              a shard a step, safetensors
checkpoints/step-N/    Hugging Face format, resumable
final/                 the trained model with its card, once the run is complete
tensorboard/           the same numbers as events
page.html              the page that ``adaswitch page`` wrote, if it did
"""

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any

from adaswitch.config.run import RunConfig
from adaswitch.data.json_lines import parse_record
from adaswitch.errors import ConfigError, DataError, NonFiniteError
from adaswitch.runs.config_files import load_config, write_config
from adaswitch.storage import append, remove_partials, sync_folder, writing
from adaswitch.storage import write_atomically as write_atomically

NUMBER = int | float
NUMBER_OR_NONE = int | float | None
TEXT = str
_KIND_NAMES = {NUMBER: "a number", NUMBER_OR_NONE: "a number or null", TEXT: "a string"}
Fields = Mapping[str, type | UnionType]
"""The fields of a record that a reader needs, by name: ``NUMBER``, ``TEXT``, or ``NUMBER_OR_NONE`` (may be absent)."""
NO_FIELDS: Fields = MappingProxyType({})

NOTES = "notes.txt"
CONFIG_FILE = "config.yaml"
_CHECKPOINT = re.compile(r"^step-(\d+)$")
_ASIDE = re.compile(r"^step-(\d+)\.\w+$")


class RunDirectory:
    """Paths in one run directory, and its record files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, config: RunConfig) -> "RunDirectory":
        """Make the directory of ``config`` and write the config into it. Other files in the directory stay.

        Raises ``StorageError`` if it cannot be written.
        """
        run = cls(Path(config.runs_dir) / config.name)
        with writing(run.path):
            run.rollouts.mkdir(parents=True, exist_ok=True)
            run.checkpoints.mkdir(exist_ok=True)
            sync_folder(run.path)
            sync_folder(run.path.parent)
        write_config(config, run.path / CONFIG_FILE)
        return run

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """The existing run directory at ``path``. Raises ``DataError`` if ``path`` is no run directory."""
        if not (Path(path) / CONFIG_FILE).is_file():
            raise DataError(
                "not a run directory (no config.yaml); runs are folders like runs/demo", source=str(path)
            )
        return cls(Path(path))

    def settings(self) -> RunConfig:
        """The settings of the newest attempt. Raises ``DataError`` if this version cannot read them, with a way out."""
        path = self.path / CONFIG_FILE
        try:
            return load_config(path)
        except ConfigError as error:
            reason = str(error).removeprefix(f"config file {path}").removeprefix(": ").removeprefix(", ")
        copies = sorted(self.attempts.glob(f"*/{CONFIG_FILE}"), key=lambda copy: copy.stat().st_mtime)
        copy = next((copy for copy in reversed(copies) if _is_readable(copy)), None)
        fix = f"copy {copy} over it" if copy else "correct it there, or begin another run under another name"
        raise DataError(
            f"{reason}: these settings of the run are damaged, or of another version: {fix}", source=str(path)
        )

    @property
    def status(self) -> Path:
        """The file that says where the run stands."""
        return self.path / "status.json"

    @property
    def inputs(self) -> Path:
        """The file with the fingerprints of the run's data and models."""
        return self.path / "inputs.json"

    @property
    def attempts(self) -> Path:
        """The folder that holds a folder for each attempt at the run."""
        return self.path / "attempts"

    @property
    def metrics(self) -> Path:
        """The file with one object for each step."""
        return self.path / "metrics.jsonl"

    @property
    def evals(self) -> Path:
        """The file with the objects of each evaluation."""
        return self.path / "eval.jsonl"

    @property
    def notes(self) -> list[str]:
        """The remarks on the run's data, such as how many records were left out."""
        path = self.path / NOTES
        return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []

    def write_notes(self, notes: Sequence[str]) -> None:
        """Keep ``notes``, a line each, in place of those of an earlier attempt."""
        path = self.path / NOTES
        if notes or path.is_file():
            write_atomically(path, "".join(f"{note}\n" for note in notes).encode())

    @property
    def rollouts(self) -> Path:
        """The folder of the rollout shards."""
        return self.path / "rollouts"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def final(self) -> Path:
        """The folder of the trained model, which is there once the run is complete."""
        return self.path / "final"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    def shards(self) -> list[Path]:
        """The rollout shards, by rising step."""
        return sorted(self.rollouts.glob("step-*.safetensors"))

    def checkpoint_steps(self) -> list[int]:
        """The steps with a complete checkpoint, in rising order."""
        if not self.checkpoints.is_dir():
            return []
        matches = [_CHECKPOINT.match(path.name) for path in self.checkpoints.iterdir()]
        return sorted(int(match.group(1)) for match in matches if match)

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint after ``step`` updates."""
        return self.checkpoints / f"step-{step}"

    def has_records(self) -> bool:
        """Whether the run has done anything: a step, an evaluation or a checkpoint, as far as it is still here."""
        written = [file for file in (self.metrics, self.evals) if file.is_file() and file.stat().st_size]
        return bool(written or self.checkpoint_steps() or self.shards())

    def prune_checkpoints(self, keep: int) -> None:
        """Remove all checkpoints but the newest ``keep``, and what was set aside of steps before these."""
        steps = self.checkpoint_steps()
        for old in steps[:-keep]:
            shutil.rmtree(self.checkpoint(old))
        oldest = steps[-keep:][0] if steps else 0
        for path in self.checkpoints.glob("step-*"):
            match = _ASIDE.match(path.name)
            if match is not None and int(match[1]) < oldest:
                _remove(path)

    def set_aside(self, step: int, why: str) -> Path:
        """Rename the checkpoint of ``step`` to ``step-N.<why>``, which nobody takes for a checkpoint, and return that.

        An earlier folder of that name is removed.
        """
        folder = self.checkpoint(step)
        aside = folder.with_name(f"{folder.name}.{why}")
        with writing(aside):
            _remove(aside)
            os.replace(folder, aside)
            sync_folder(self.checkpoints)
        return aside

    def remove_partials(self) -> None:
        """Remove what an earlier attempt left half written when it ended; see ``adaswitch.storage``."""
        for folder in (self.path, self.rollouts, self.checkpoints):
            remove_partials(folder)

    def drop_records_from(self, step: int) -> list[str]:
        """Drop the metrics of ``step`` and later, and the evaluations after ``step``, as they will be made again.

        A last line that was not written to its end is dropped as well. Returns a warning about each such line, and one
        if the metrics of steps before are not all there, once each. Raises ``DataError`` as ``read_records`` does, and
        for a half-written line of an earlier step, which would not be made again.
        """
        dropped = [*_drop(self.metrics, step, last_step=step - 1), *_drop(self.evals, step, last_step=step)]
        return dropped + _missing_steps(self.metrics, step)


def _is_readable(config: Path) -> bool:
    try:
        load_config(config)
    except ConfigError:
        return False
    return True


def _remove(path: Path) -> None:
    """Remove a file or a folder; nothing if there is neither."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def append_record(path: Path, record: Mapping[str, object]) -> None:
    """Add one JSON object as a line; see ``append_records``."""
    append_records(path, [record])


def append_records(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """Add JSON objects as lines, either all or none, and flush them to the disk.

    A last line that was not written to its end is dropped first. Raises ``NonFiniteError`` for a number that is not
    finite, because JSON has none, and ``StorageError``.
    """
    for record in records:
        for name, value in record.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise NonFiniteError(f"{path}: {name} is {value}, which cannot be recorded")
    lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records).encode()
    _mend_end(path)
    append(path, lines)


def _mend_end(path: Path) -> None:
    """Let the record file ``path`` end with a whole line, so that the next line does not become part of its last."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() == b"\n":
            return
    whole, _ = _split_torn(path.read_bytes())
    write_atomically(path, b"".join(line + b"\n" for line in whole))


def read_records(path: Path, fields: Fields = NO_FIELDS) -> Iterator[dict[str, Any]]:
    """The objects of a record file. If the file does not exist, there are no objects.

    A last line without its end that is no JSON object is left out: it is being written just now, or was torn. Raises
    ``DataError`` with the line if another line is no JSON object, or if a line lacks any of ``fields``, and
    ``DataError`` for a file that cannot be read.
    """
    content = _content(path)
    whole = content.splitlines() if content.endswith(b"\n") else _split_torn(content)[0]
    yield from _records(whole, fields, str(path))


def _records(lines: Sequence[bytes], fields: Fields, source: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        record = parse_record(line, number, source)
        _require_fields(record, fields, number, source)
        yield record


def _content(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", source=str(path)) from None


def _split_torn(content: bytes) -> tuple[list[bytes], bytes | None]:
    """The lines of a record file, and apart from them the last line if it is no JSON object.

    Such a line was not written to its end, even if it has one: a power failure may leave any bytes behind.
    """
    lines = content.splitlines()
    if not lines:
        return [], None
    try:
        parse_record(lines[-1], len(lines), "")
    except DataError:
        return lines[:-1], lines[-1]
    return lines, None


def _require_fields(record: Mapping[str, object], fields: Fields, number: int, source: str) -> None:
    """Raises ``DataError`` for the first of ``fields`` that is missing in ``record`` or has the wrong type."""
    for name, kind in fields.items():
        value = record.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or _is_infinite(value):
            problem = f'no field "{name}"' if name not in record else f'field "{name}" is {value!r:.40}'
            raise DataError(
                f"{problem}, where {_KIND_NAMES[kind]} is expected: the file is damaged; remove the line",
                source=source,
                line=number,
            )


def _is_infinite(value: object) -> bool:
    """Whether ``value`` is NaN or too large for a float. Python's JSON reader accepts such numbers."""
    return isinstance(value, int | float) and not abs(value) <= sys.float_info.max


_STEP = re.compile(rb'^\{"step": (\d+)[,}]')


def _drop(path: Path, step: int, last_step: int) -> list[str]:
    """Drop the records after ``last_step``, and a torn last line. Returns a warning about that line, if there is one.

    An evaluation is several records, so those of ``step`` itself go with a torn line: they may be its evaluation's.
    """
    whole, torn = _split_torn(_content(path))
    records = list(_records(whole, {"step": NUMBER}, str(path)))
    if torn is not None:
        if _step_of(torn, records, is_metrics=last_step < step) < step:
            raise DataError(
                "was not written to its end, and is of a step that is not made again: remove the line to go on without",
                source=str(path),
                line=len(whole) + 1,
            )
        last_step = step - 1
    kept = [record for record in records if record["step"] <= last_step]
    if path.is_file():
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept).encode())
    if torn is None:
        return []
    return [f"{path}, line {len(whole) + 1} was not written to its end: it is dropped, and made again"]


def _missing_steps(metrics: Path, step: int) -> list[str]:
    """A warning unless there is one record for each step before ``step``."""
    found = [record["step"] for record in read_records(metrics, {"step": NUMBER})]
    if found == list(range(step)):
        return []
    return [
        f"{metrics} holds {len(found)} records of {len(set(found))} steps, and {step} steps were done: figures over "
        "the whole run, and trainer.time_limit_s, go by what is there"
    ]


def _step_of(torn: bytes, records: Sequence[Mapping[str, Any]], *, is_metrics: bool) -> float:
    """The step of a torn line, as far as it can be told; infinity if it cannot."""
    if (match := _STEP.match(torn)) is not None:
        return int(match[1])
    if is_metrics:  # there is a line for each step
        return float(records[-1]["step"] + 1) if records else 0.0
    return math.inf
