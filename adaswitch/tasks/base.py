"""What a task is: prompts with reference answers, and how a completion is marked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from adaswitch.errors import DataError, UnmarkedError

Marks = Mapping[str, float]
"""By the metric's name, each from 0 (wrong) to 1 (right)."""


@dataclass(frozen=True)
class Example:
    """One prompt and its gold answer.

    ``Example(prompt="3+5*7-2=", reference="3+5=8;8*7=6;6-2=4;#4", number=1)``
    """

    prompt: str
    """What the models are asked, before any chat template."""
    reference: str
    """The data set's own completion, without an end-of-sequence token; may be empty, and is unmarked then."""
    number: int
    """The record's number in its split, counted from 1 (in a file: its line), for messages."""
    split: str = "eval"
    """The group that it is reported under: ``eval``, a harder split, or a kind of question."""
    references: tuple[str, ...] = ()
    """All gold answers, where the data set has several for one prompt."""
    record: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)
    """The record as it was read, for a metric of one's own; empty for generated prompts."""
    source: str = field(default="", compare=False)
    """The file or data set that it comes from; empty for generated prompts."""

    @property
    def place(self) -> str:
        """Where it is found, for messages: ``train.jsonl, line 3``, or ``record 3 (longer)`` if generated."""
        return f"{self.source}, line {self.number}" if self.source else f"record {self.number} ({self.split})"

    @property
    def all_references(self) -> tuple[str, ...]:
        """``references``, or the one ``reference``."""
        return self.references or (self.reference,)


class Task(Protocol):
    """A kind of prompts and the rule by which their answers are marked."""

    name: str
    """The task's ``kind`` in the settings, and its name in ``eval.jsonl``."""
    chat_template: bool
    """Whether the prompt is wrapped as a user message by the tokenizer's chat template."""
    metrics: tuple[str, ...]
    """The names of the marks that ``mark`` gives, the main one first."""

    def mark(self, completion: str, example: Example) -> Marks:
        """The marks of ``completion``: one for each of ``metrics``.

        Raises ``UnmarkedError`` where there is nothing to mark by, such as an empty reference: that is
        neither right nor wrong.
        """
        ...


class RecordTask(Task, Protocol):
    """A task whose examples are records of a data file or data set."""

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example. Raises ``DataError`` that names ``source``, the line and the field."""
        ...


def exact_match(right: bool) -> Marks:
    """The marks of a task that knows right and wrong only."""
    return {"exact_match": float(right)}


def require_references(example: Example) -> tuple[str, ...]:
    """All gold answers of ``example``. Raises ``UnmarkedError`` where one of them is blank."""
    if not all(reference.strip() for reference in example.all_references):
        raise UnmarkedError("the reference is empty")
    return example.all_references


def text_field(
    record: Mapping[str, object], field: str, number: int, source: str, *, may_be_blank: bool = False
) -> str:
    """The text that ``record`` holds under ``field``, as it stands.

    Raises ``DataError`` with ``source`` and the line ``number`` where it is missing, no text, or blank.
    """
    text = require_text(any_field(record, field, number, source), f'field "{field}"', number, source)
    if not may_be_blank and not text.strip():
        raise DataError(f'field "{field}" is empty', source=source, line=number)
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


def any_field(record: Mapping[str, object], field: str, number: int, source: str) -> object:
    """What ``record`` holds under ``field``. Raises ``DataError`` with the fields that there are."""
    if field not in record:
        known = ", ".join(sorted(record)) or "none"
        raise DataError(f'no field "{field}" (there are: {known})', source=source, line=number)
    return record[field]
