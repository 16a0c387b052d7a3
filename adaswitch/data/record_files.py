"""Reads the records of one data file: JSON lines, an array of JSON objects, or Parquet, each also through gzip."""

import glob
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from adaswitch.data.json_lines import Record, parse_record
from adaswitch.errors import DataError, EnvironmentProblem

if TYPE_CHECKING:
    import pyarrow

GZIP_MAGIC, PARQUET_MAGIC, BOM = b"\x1f\x8b", b"PAR1", b"\xef\xbb\xbf"
FORMS = "JSON lines, an array of JSON objects, or Parquet; each may be compressed with gzip"
HEAD_BYTES = 4096
BATCH_ROWS = 1024
"""The number of rows that are read from a Parquet file at once."""


def find_files(path: str | list[str]) -> list[str]:
    """The files that ``path`` names: a path, a pattern whose matches come in order of name, or a list of both.

    A file that is named more than once, as by a pattern and by its own path, counts once. Raises ``DataError`` for a
    pattern that matches no file. A path without ``*``, ``?`` or ``[`` is not looked for.
    """
    found: list[str] = []
    for name in [path] if isinstance(path, str) else path:
        if not glob.has_magic(name) or os.path.exists(name):
            found.append(name)
            continue
        matches = sorted(match for match in glob.glob(name, recursive=True) if os.path.isfile(match))
        if not matches:
            raise DataError("no file matches this pattern: check the path under task", source=name)
        found += matches
    return list(dict.fromkeys(found))


def read_file(path: Path, limit: int | None = None) -> list[tuple[int, Record]]:
    """At most ``limit`` records of the file, with their numbers: the line, or the row or element counted from 1.

    Raises ``DataError`` for a file that does not exist, cannot be read, is damaged or has no records, and ``DataError``
    with the line for a record that is no JSON object.
    """
    with _opened(path) as file:
        head = file.read(HEAD_BYTES)
    name = path.name.lower().removesuffix(".gz")
    if head.startswith(PARQUET_MAGIC) or name.endswith((".parquet", ".pq")):
        return _read_parquet(path, limit)
    # Whatever the file is called, a line of JSON lines is no list.
    if re.match(rb"\s*\[" if name.endswith(".json") else rb"\s*\[\s*\{", head.removeprefix(BOM)):
        return _read_array(path, limit)
    return read_jsonl(path, limit)


def read_jsonl(path: Path, limit: int | None = None) -> list[tuple[int, Record]]:
    """The objects of a UTF-8 JSON-lines file, with their line numbers. Blank lines are skipped.

    Nothing is read after the ``limit``-th record. Raises ``DataError`` for a file that does not exist, cannot be read
    or has no records, and ``DataError`` with the line for a line that is not a JSON object.
    """
    records: list[tuple[int, Record]] = []
    with _opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(BOM) if number == 1 else line
            if text.strip():
                try:
                    records.append((number, parse_record(text, number, str(path))))
                except DataError as error:
                    if records or not error.message.startswith(
                        ("not valid JSON: Exp", "not valid JSON: Extra")
                    ):
                        raise
                    # Nothing was read yet, so the whole file may be of another form, such as CSV.
                    raise DataError(
                        f"{error.message}; a data file holds {FORMS}", source=str(path), line=number
                    ) from None
            if len(records) == limit:
                break
    return _require_some(records, path, "one JSON object a line is expected")


def _read_array(path: Path, limit: int | None) -> list[tuple[int, Record]]:
    with _opened(path) as file:
        content = file.read()
    try:
        elements = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text", source=str(path)) from None
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg} at column {error.colno}"
        raise DataError(message, source=str(path), line=error.lineno) from None
    except RecursionError:
        raise DataError("not valid JSON: nested too deeply", source=str(path)) from None
    except ValueError:  # Python refuses integers with more than some thousand digits.
        raise DataError("a number with too many digits", source=str(path)) from None
    for number, element in enumerate(elements[:limit], start=1):
        if not isinstance(element, dict):
            message = f"element {number} must be a JSON object, and is {type(element).__name__}"
            raise DataError(message, source=str(path))
    return _require_some(list(enumerate(elements[:limit], start=1)), path, "an array of objects is expected")


def _read_parquet(path: Path, limit: int | None) -> list[tuple[int, Record]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise EnvironmentProblem(
            f"{path}: Parquet needs a package that is not installed: uv pip install pyarrow"
        ) from None
    rows: list[Record] = []
    with _opened(path) as raw:
        try:
            # Parquet is read from its end, which gzip can only reach by uncompressing everything.
            compressed = isinstance(raw, gzip.GzipFile)
            with parquet.ParquetFile(io.BytesIO(raw.read()) if compressed else raw) as file:
                for batch in file.iter_batches(batch_size=min(BATCH_ROWS, limit or BATCH_ROWS)):
                    rows += _rows(batch)
                    if limit is not None and len(rows) >= limit:
                        break
        except pyarrow.ArrowException as error:
            reason = str(error).strip().partition("\n")[0][:120]
            raise DataError(
                f"is no whole Parquet file: {reason}: make or download it again", source=str(path)
            ) from None
    return _require_some(list(enumerate(rows[:limit], start=1)), path, "a row a record is expected")


def _rows(batch: "pyarrow.RecordBatch") -> list[Record]:
    """The rows of ``batch``. Maps become objects. Of a key that a map has twice, the later one counts."""
    rows: list[Record] = batch.to_pylist(maps_as_pydicts="lossy")
    for field in batch.schema:
        if "float" in str(field.type):
            for row in rows:
                row[field.name] = _short(row[field.name], field.type)
    return rows


def _short(value: Any, kind: "pyarrow.DataType") -> Any:  # noqa: ANN401 - whatever a column holds
    """``value`` with each number of 32 or 16 bits as its shortest decimal: 0.1 instead of 0.10000000149011612."""
    import numpy as np
    from pyarrow import types

    if value is None:
        return None
    if types.is_float32(kind):
        return float(str(np.float32(value)))
    if types.is_float16(kind):
        return float(str(np.float16(value)))
    if types.is_struct(kind):
        return {part.name: _short(value[part.name], part.type) for part in kind}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [_short(element, kind.value_type) for element in value]
    return value


def _require_some(records: list[tuple[int, Record]], path: Path, expected: str) -> list[tuple[int, Record]]:
    if not records:
        raise DataError(f"holds no records: {expected}", source=str(path))
    return records


def _begins_with(path: Path, magic: bytes) -> bool:
    with _read_errors(path), path.open("rb") as file:
        return file.read(len(magic)) == magic


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, uncompressed. Whatever the file is called, its first bytes say whether it is gzip."""
    compressed = _begins_with(path, GZIP_MAGIC)
    if path.suffix.lower() == ".gz" and not compressed and path.stat().st_size:
        raise DataError(
            "is called .gz, and is no gzip file: rename it, or download it again", source=str(path)
        )
    with _read_errors(path), path.open("rb") as raw:
        if not compressed:
            yield raw
            return
        with gzip.open(raw) as file:
            yield cast(IO[bytes], file)


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Turn the errors of opening, reading and uncompressing ``path`` into a ``DataError`` of one line."""
    try:
        yield
    except FileNotFoundError:
        raise DataError("no such file: check the path under task", source=str(path)) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"the gzip file is cut off or damaged: {error}: download it again", source=str(path)
        ) from None
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise DataError(f"cannot be read: {reason}", source=str(path)) from None
