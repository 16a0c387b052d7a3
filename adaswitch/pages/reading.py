"""Reads the records of a run as far as they can be read, and says what could not be."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from adaswitch.data.json_lines import parse_record
from adaswitch.errors import AdaSwitchError, DataError
from adaswitch.runs.directory import Fields

T = TypeVar("T")
MAX_NAMED = 3
"""The number of damaged lines of one file that are named one by one."""


@dataclass
class Problems:
    """What could not be read, a line each, in the order in which it was found."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Note ``line``, once."""
        if line not in self.lines:
            self.lines.append(line)

    def without(self, read: Callable[[], T], otherwise: T) -> T:
        """What ``read`` returns; ``otherwise``, with a note, if it raises one of this project's errors."""
        try:
            return read()
        except AdaSwitchError as error:
            self.add(str(error))
            return otherwise


def readable_records(path: Path, fields: Fields, problems: Problems) -> list[dict[str, Any]]:
    """The JSON objects of a record file, less those that are damaged, which are noted in ``problems``.

    Of ``fields``, a number that is not finite, or a value of another type, is left out of its record. A last line
    without its end is being written just now, and is left out in silence.
    """
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        problems.add(f"{path}: cannot be read: {error.strerror}")
        return []
    lines = content.splitlines()
    if lines and not content.endswith(b"\n"):
        lines.pop()
    found, damaged = [], []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_fitting(parse_record(line, number, str(path)), fields))
        except DataError as error:
            damaged.append(str(error))
    for words in damaged[:MAX_NAMED]:
        problems.add(words)
    if len(damaged) > MAX_NAMED:
        problems.add(f"{path}: {len(damaged) - MAX_NAMED} more lines are damaged")
    return found


def _fitting(record: Mapping[str, object], fields: Fields) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in fields or _fits(value, fields[name])}


def _fits(value: object, kind: type | UnionType) -> bool:
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:  # NaN, too, compares so
        return False
    return isinstance(value, kind) and not isinstance(value, bool)


def complete(
    records: list[dict[str, Any]], fields: Fields, what: str, problems: Problems
) -> list[dict[str, Any]]:
    """Those of ``records`` that have all of ``fields``, except those that may be null.

    If some lack one, ``problems`` says what they lack, and that ``what`` goes without them.
    """
    needed = [name for name, kind in fields.items() if not isinstance(None, kind)]
    whole = [record for record in records if all(name in record for name in needed)]
    if len(whole) < len(records):
        missing = sorted({name for record in records for name in needed if name not in record})
        number = len(records) - len(whole)
        problems.add(
            f"{number} of {len(records)} records lack {', '.join(missing[:6])}{' ...' if missing[6:] else ''} "
            f"(damaged, or of another version): {what} without them"
        )
    return whole
