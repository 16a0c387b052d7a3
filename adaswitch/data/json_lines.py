"""Reads a line of a JSON-lines file with data, metrics or marks. Every part imports it, so it imports little itself."""

import json

from adaswitch.errors import DataError

Record = dict[str, object]


def parse_record(line: bytes, number: int, source: str) -> Record:
    """The JSON object in ``line``. If there is none, raises ``DataError`` with ``source`` and the line ``number``."""
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text", source=source, line=number) from None
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg} at column {error.colno}"
        raise DataError(message, source=source, line=number) from None
    except RecursionError:
        raise DataError("not valid JSON: nested too deeply", source=source, line=number) from None
    except ValueError:  # Python refuses integers with more than some thousand digits.
        raise DataError("a number with too many digits", source=source, line=number) from None
    if not isinstance(record, dict):
        message = f"a JSON object is expected, not {type(record).__name__}"
        raise DataError(message, source=source, line=number)
    return record
