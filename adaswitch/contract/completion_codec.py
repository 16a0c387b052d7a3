"""Completions that a student wrote by itself for an evaluation, as JSON bytes on the queue and back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from adaswitch.errors import DataError

FORMAT = "adaswitch-completion-1"


@dataclass(frozen=True)
class Unaided:
    """A completion that the student wrote by itself, and the version of the weights that it was written with."""

    token_ids: tuple[int, ...]
    weights_version: int


def encode_completion(token_ids: Sequence[int], weights_version: int) -> bytes:
    """A completion as one blob."""
    return json.dumps(
        {"format": FORMAT, "weights_version": weights_version, "token_ids": list(token_ids)}
    ).encode()


def decode_completion(blob: bytes) -> Unaided:
    """The inverse of ``encode_completion``. Raises ``DataError`` if ``blob`` is not valid, or has no tokens."""
    try:
        found = json.loads(blob)
        if found["format"] != FORMAT:
            raise ValueError(f"not a completion of the form {FORMAT}")
        numbers = [found["weights_version"], *found["token_ids"]]
        if len(numbers) == 1 or not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("version and tokens must be whole numbers, and there must be tokens")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"the completion cannot be read: {error!r}", source="an evaluation") from error
    return Unaided(tuple(numbers[1:]), numbers[0])
