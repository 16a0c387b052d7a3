"""What a task is: prompts with reference answers, and how a completion is marked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from adaswitch.errors import DataError


@dataclass(frozen=True)
class Example:
    """One prompt and its gold answer.

    ``Example(prompt="3+5*7-2=", reference="3+5=8;8*7=6;6-2=4;#4", number=1)``
    """

    prompt: str
    """What the models are asked, before any chat template."""
    reference: str
    """The data set's own completion, without an end-of-sequence token."""
    number: int
    """The record's number counted from 1 (in a file: its line), for messages."""


class Task(Protocol):
    """A kind of prompts and the rule by which their answers are marked."""

    name: str
    """The task's ``kind`` in the settings, and its name in ``eval.jsonl``."""
    chat_template: bool
    """Whether the prompt is wrapped as a user message by the tokenizer's chat template."""

    def mark(self, completion: str, example: Example) -> bool:
        """Whether the answer in ``completion`` is exactly the one in ``example.reference``."""
        ...


class RecordTask(Task, Protocol):
    """A task whose examples are records of a data file or data set."""

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example. Raises ``DataError`` that names ``source``, the line and the field."""
        ...


def text_field(record: Mapping[str, object], field: str, number: int, source: str) -> str:
    """The text that ``record`` holds under ``field``, as it stands.

    Raises ``DataError`` with ``source`` and the line ``number`` where it is missing, no text, or blank.
    """
    if field not in record:
        known = ", ".join(sorted(record)) or "none"
        raise DataError(f'no field "{field}" (there are: {known})', source=source, line=number)
    value = record[field]
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise DataError(f'field "{field}" must be a string, and is {kind}', source=source, line=number)
    if not value.strip():
        raise DataError(f'field "{field}" is empty', source=source, line=number)
    return value
