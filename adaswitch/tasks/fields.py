"""Reads the fields of a record: by name or by a path into nested objects and lists, as text or as a number."""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal

from adaswitch.errors import DataError


def text_field(
    record: Mapping[str, object], field: str, number: int, source: str, *, may_be_blank: bool = False
) -> str:
    """The text that ``record`` holds under ``field``, unchanged.

    Raises ``DataError`` with ``source`` and the line ``number`` if the field is missing, holds no text, or is blank.
    """
    text = require_text(any_field(record, field, number, source), f'field "{field}"', number, source)
    return text if may_be_blank else require_words(text, f'field "{field}"', number, source)


def require_words(text: str, name: str, number: int, source: str) -> str:
    """``text``, which messages call ``name``. Raises ``DataError`` if it is blank."""
    if not text.strip():
        raise DataError(f"{name} is empty", source=source, line=number)
    return text


def require_text(value: object, name: str, number: int, source: str) -> str:
    """``value``, which messages call ``name``, if it is text that can be written down.

    Raises ``DataError`` with ``source`` and the line ``number`` otherwise.
    """
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise DataError(f"{name} must be a string, and is {kind}", source=source, line=number)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(
            f"{name} holds half of a surrogate pair, which is no text", source=source, line=number
        )
    return value


def require_answer(value: object, name: str, number: int, source: str) -> str:
    """``value``, which messages call ``name``, as text. A number is the text that people write for it: 18, 3.5.

    A float has no ending ``.0``, which a column of whole numbers gets where one is missing, and no exponent.

    Raises ``DataError`` with ``source`` and the line ``number`` for anything else.
    """
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        return _written(value)
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, value)) or "none"
        raise DataError(
            f"{name} must be a string or a number, and is an object: name its text by a path, as in FIELD.KEY "
            f"(its keys: {keys})",
            source=source,
            line=number,
        )
    if isinstance(value, bool | float | Decimal):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        raise DataError(f"{name} must be a string or a number, and is {shown}", source=source, line=number)
    return require_text(value, name, number, source)


def _written(number: int | float | Decimal) -> str:
    if not isinstance(number, float):
        return str(number)
    return format(Decimal(repr(number)).normalize(), "f") if number else "0"


def any_field(record: Mapping[str, object], field: str, number: int, source: str) -> object:
    """The value that ``record`` holds under ``field``.

    ``field`` is a key of the record, or else a path of keys and list places from 0, as in ``conversations.0.value``. A
    key that has a dot in it comes before a path. If nothing is there, raises ``DataError`` with the names that are.
    """
    found = next(_at(record, field), None)
    if found is None:
        raise DataError(f'no field "{field}" ({_what_is_there(record, field)})', source=source, line=number)
    return found[0]


def has_field(record: Mapping[str, object], field: str) -> bool:
    """Whether ``any_field`` finds something."""
    return next(_at(record, field), None) is not None


def _at(value: object, path: str) -> Iterator[tuple[object]]:
    """Every value that ``path`` may mean, the one with the longest keys first, each as a tuple of one."""
    if isinstance(value, Mapping) and path in value:
        yield (value[path],)
    ends = [place for place, character in enumerate(path) if character == "."]
    for end in reversed(ends):
        inner = _member(value, path[:end])
        if inner is not None:
            yield from _at(inner[0], path[end + 1 :])
    if isinstance(value, list | tuple) and (inner := _member(value, path)) is not None:
        yield inner


def _member(value: object, key: str) -> tuple[object] | None:
    """The member of an object or a list under ``key``, as a tuple of one; None if there is none."""
    if isinstance(value, Mapping):
        return (value[key],) if key in value else None
    if not isinstance(value, list | tuple) or not key.removeprefix("-").isdecimal() or len(key) > 9:
        return None
    place = int(key)
    return (value[place],) if -len(value) <= place < len(value) else None


def _what_is_there(record: Mapping[str, object], field: str) -> str:
    """What there is in the place of the first part of the path ``field`` that is missing."""
    value: object = record
    gone = ""
    for key in field.split("."):
        inner = _member(value, key)
        if inner is None:
            break
        value, gone = inner[0], f"{gone}.{key}" if gone else key
    where = f"in {gone} there " if gone else "there "
    if isinstance(value, Mapping):
        return f"{where}are: {', '.join(sorted(map(str, value))) or 'none'}"
    if isinstance(value, list | tuple):
        return f"{where}is a list of {len(value)}, from 0 on"
    return f"{where}is no object, and no list"
