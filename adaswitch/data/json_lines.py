"""A line of a JSON-lines file: data, metrics, marks. Light, since every part reads such files."""

import json

from adaswitch.errors import DataError

Record = dict[str, object]


def parse_record(line: bytes, number: int, source: str) -> Record:
    """The JSON object in ``line``. Raises ``DataError`` with ``source`` and the line ``number`` for anything else."""
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text", source=source, line=number) from None
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg} at column {error.colno}"
        raise DataError(message, source=source, line=number) from None
    except RecursionError:
        raise DataError("not valid JSON: nested too deeply", source=source, line=number) from None
    except ValueError:  # Python reads integers of at most some thousand digits.
        raise DataError("a number with too many digits", source=source, line=number) from None
    if not isinstance(record, dict):
        message = f"a JSON object is expected, not {type(record).__name__}"
        raise DataError(message, source=source, line=number)
    return record
