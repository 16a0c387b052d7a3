"""The run directory ``runs/<name>/``: where everything is, and how it is written and read.

config.yaml            every setting, the defaults included
metrics.jsonl          an object a step
eval.jsonl             an object an evaluation
rollouts/              a shard a step, safetensors
checkpoints/step-N/    Hugging Face format, resumable
tensorboard/           the same numbers as events
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any

from adaswitch.config import RunConfig
from adaswitch.data.json_lines import parse_record
from adaswitch.errors import DataError, EnvironmentProblem
from adaswitch.runs.config_files import write_config

NUMBER = int | float
NUMBER_OR_NONE = int | float | None
TEXT = str
_KIND_NAMES = {NUMBER: "a number", NUMBER_OR_NONE: "a number or null", TEXT: "a string"}
Fields = Mapping[str, type | UnionType]
"""What a reader needs of a record, by name: each ``NUMBER``, ``TEXT``, or ``NUMBER_OR_NONE``, which may be absent."""
NO_FIELDS: Fields = MappingProxyType({})

_CHECKPOINT = re.compile(r"^step-(\d+)$")


class RunDirectory:
    """Paths in one run directory, and its record files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, config: RunConfig) -> "RunDirectory":
        """Make the directory of ``config`` and write the config into it. What is there stays."""
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
        """An existing run directory. Raises ``DataError`` if it is none."""
        if not (Path(path) / "config.yaml").is_file():
            raise DataError(
                "not a run directory (no config.yaml); runs are folders like runs/demo", source=str(path)
            )
        return cls(Path(path))

    @property
    def metrics(self) -> Path:
        """An object a step."""
        return self.path / "metrics.jsonl"

    @property
    def evals(self) -> Path:
        """An object an evaluation."""
        return self.path / "eval.jsonl"

    @property
    def rollouts(self) -> Path:
        """The shards' folder."""
        return self.path / "rollouts"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints' folder."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """The event files' folder."""
        return self.path / "tensorboard"

    def shards(self) -> list[Path]:
        """The rollout shards, by rising step."""
        return sorted(self.rollouts.glob("step-*.safetensors"))

    def checkpoint_steps(self) -> list[int]:
        """The steps of which there is a whole checkpoint, rising."""
        if not self.checkpoints.is_dir():
            return []
        matches = [_CHECKPOINT.match(path.name) for path in self.checkpoints.iterdir()]
        return sorted(int(match.group(1)) for match in matches if match)

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after ``step`` updates is."""
        return self.checkpoints / f"step-{step}"

    def drop_records_from(self, step: int) -> None:
        """Forget metrics of step ``step`` and later, and evaluations after it: they will be made again.

        Raises ``DataError`` as ``read_records`` does.
        """
        _filter_records(self.metrics, lambda record: record["step"] < step)
        _filter_records(self.evals, lambda record: record["step"] <= step)


def append_record(path: Path, record: Mapping[str, object]) -> None:
    """Add one JSON object as a line. Non-finite numbers are refused: they are no JSON."""
    line = json.dumps(record, allow_nan=False)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_records(path: Path, fields: Fields = NO_FIELDS) -> Iterator[dict[str, Any]]:
    """The objects of a record file, none if there is no file.

    Raises ``DataError`` with the line for one that is no JSON object or lacks one of ``fields``, and for a file
    that cannot be read.
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
    """Raises ``DataError`` for the first of ``fields`` that ``record`` lacks or that is not what it should be."""
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
    """Whether it is NaN, or beyond what a float holds: JSON as Python reads it has such numbers."""
    return isinstance(value, int | float) and not abs(value) <= sys.float_info.max


def write_atomically(path: Path, content: bytes) -> None:
    """Write the whole file or none of it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def _filter_records(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    kept = [record for record in read_records(path, {"step": NUMBER}) if keep(record)]
    if path.is_file():
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept).encode())
