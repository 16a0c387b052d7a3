"""The run directory ``runs/<name>/``: where its files are, and how they are written and read.

config.yaml            every setting, including the defaults
metrics.jsonl          an object a step
eval.jsonl             an object an evaluation
notes.txt              a line a remark on the data, such as how many records were left out
rollouts/              a shard a step, safetensors
checkpoints/step-N/    Hugging Face format, resumable
tensorboard/           the same numbers as events
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any

from adaswitch.config.run import RunConfig
from adaswitch.data.json_lines import parse_record
from adaswitch.errors import DataError, EnvironmentProblem
from adaswitch.runs.config_files import write_config

NUMBER = int | float
NUMBER_OR_NONE = int | float | None
TEXT = str
_KIND_NAMES = {NUMBER: "a number", NUMBER_OR_NONE: "a number or null", TEXT: "a string"}
Fields = Mapping[str, type | UnionType]
"""The fields of a record that a reader needs, by name: ``NUMBER``, ``TEXT``, or ``NUMBER_OR_NONE`` (may be absent)."""
NO_FIELDS: Fields = MappingProxyType({})

NOTES = "notes.txt"
_CHECKPOINT = re.compile(r"^step-(\d+)$")


class RunDirectory:
    """Paths in one run directory, and its record files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, config: RunConfig) -> "RunDirectory":
        """Make the directory of ``config`` and write the config into it. Other files in the directory stay."""
        run = cls(Path(config.runs_dir) / config.name)
        try:
            run.rollouts.mkdir(parents=True, exist_ok=True)
            run.checkpoints.mkdir(exist_ok=True)
            write_config(config, run.path / "config.yaml")
        except OSError as error:
            raise EnvironmentProblem(
                f"runs_dir: cannot write to {run.path}: {error.strerror}; set runs_dir to a writable folder"
            ) from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """The existing run directory at ``path``. Raises ``DataError`` if ``path`` is no run directory."""
        if not (Path(path) / "config.yaml").is_file():
            raise DataError(
                "not a run directory (no config.yaml); runs are folders like runs/demo", source=str(path)
            )
        return cls(Path(path))

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
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

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

    def drop_records_from(self, step: int) -> None:
        """Drop the metrics of ``step`` and later, and the evaluations after ``step``, as they will be made again.

        Raises ``DataError`` as ``read_records`` does.
        """
        _filter_records(self.metrics, lambda record: record["step"] < step)
        _filter_records(self.evals, lambda record: record["step"] <= step)


def append_record(path: Path, record: Mapping[str, object]) -> None:
    """Add one JSON object as a line. Non-finite numbers are refused, because JSON has none."""
    line = json.dumps(record, allow_nan=False)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_records(path: Path, fields: Fields = NO_FIELDS) -> Iterator[dict[str, Any]]:
    """The objects of a record file. If the file does not exist, there are no objects.

    Raises ``DataError`` with the line if a line is no JSON object or lacks any of ``fields``, and ``DataError`` for a
    file that cannot be read.
    """
    if not path.is_file():
        return
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", source=str(path)) from None
    for number, line in enumerate(lines, start=1):
        record = parse_record(line, number, str(path))
        _require_fields(record, fields, number, str(path))
        yield record


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


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to the file ``path``, either whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def _filter_records(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    kept = [record for record in read_records(path, {"step": NUMBER}) if keep(record)]
    if path.is_file():
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept).encode())
