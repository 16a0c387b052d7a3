"""The base of every task: settings, prompts with reference answers, and how a completion is marked.

A task is a class of settings. Its prompts are generated (``GeneratedTask``) or are records of a data file or data set
(``RecordTask``). A task reads no files itself: ``adaswitch.data.datasets`` reads the records for it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import Field, model_validator

from adaswitch.config.base import Settings
from adaswitch.errors import DataError, UnmarkedError

Marks = Mapping[str, float]
"""The marks of a completion by the metric's name, each from 0 (wrong) to 1 (right)."""


@dataclass(frozen=True)
class Example:
    """One prompt and its gold answer.

    ``Example(prompt="3+5*7-2=", reference="3+5=8;8*7=6;6-2=4;#4", number=1)``
    """

    prompt: str
    """The text that the models are asked, before any chat template is applied."""
    reference: str
    """The data set's own completion, without an end-of-sequence token. If it is empty, no completion is marked."""
    number: int
    """The number of the record in its split, counted from 1, for messages. In a file it is the line number."""
    split: str = "eval"
    """The group under which the example is reported: ``eval``, a harder split, or a kind of question."""
    references: tuple[str, ...] = ()
    """All gold answers, where the data set has several for one prompt."""
    record: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)
    """The record as it was read, for a user's own metric. Empty for generated prompts."""
    source: str = field(default="", compare=False)
    """The file or data set that the example comes from. Empty for generated prompts."""

    @property
    def place(self) -> str:
        """The example's place, for messages: ``train.jsonl, line 3``, or ``record 3 (longer)`` if it is generated."""
        return f"{self.source}, line {self.number}" if self.source else f"record {self.number} ({self.split})"

    @property
    def all_references(self) -> tuple[str, ...]:
        """``references``, or the single ``reference`` if there are none."""
        return self.references or (self.reference,)


Split = Literal["train", "eval"]


class Task(Settings, ABC):
    """Prompts, and the rule by which their answers are marked. The fields of a subclass are its settings."""

    @property
    def name(self) -> str:
        """The task's name in ``eval.jsonl``: its kind, or the name of a user's own class."""
        return str(getattr(self, "kind", type(self).__name__))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the marks that ``mark`` gives, the main one first."""
        return ("exact_match",)

    @property
    def wraps_prompts(self) -> bool:
        """Whether the tokenizer's chat template wraps a prompt as a user message, if the task has this setting."""
        return bool(getattr(self, "chat_template", False))

    @property
    def default_new_tokens(self) -> int:
        """The largest number of tokens in a completion, for evaluations without a run's own limit."""
        return 256

    @property
    def has_held_out(self) -> bool:
        """Whether there are held-out prompts."""
        return True

    def check(self, max_new_tokens: int | None = None) -> None:
        """Raises ``ConfigError`` for settings that cannot be used. Called before a run; may import a user's code.

        ``max_new_tokens`` is the largest number of tokens in an answer to a held-out prompt, if that is known.
        """

    def ready(self) -> "Task":
        """The task to work with: this task itself, or the user's own task that it names."""
        return self

    @abstractmethod
    def mark(self, completion: str, example: Example) -> Marks:
        """The marks of ``completion``, one for each of ``metrics``.

        Raises ``UnmarkedError`` if there is nothing to mark by, such as an empty reference: the completion is then
        neither right nor wrong.
        """


class GeneratedTask(Task):
    """A task that makes its own prompts."""

    @abstractmethod
    def examples(self, split: Split) -> list[Example]:
        """The examples of a split. In each held-out split (``Example.split``), ``number`` counts from 1."""


class DataSource(Settings):
    """The place that records come from: a local JSON-lines file, or a named data set of the Hugging Face hub."""

    path: str | None = None
    """The path of a local ``.jsonl`` file, with one JSON object in each line."""
    hub: str | None = None
    """The name of a data set on the Hugging Face hub, as in ``openai/gsm8k``."""
    subset: str | None = None
    """The configuration of the hub data set, as in ``main``."""
    split: str = "train"
    """The split of the hub data set, as in ``test``."""
    limit: int | None = Field(default=None, ge=1)
    """The number of first records that are used. By default all records are used."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("set exactly one of path (a local file) and hub (a data set's name)")
        return self


class RecordTask(Task):
    """A task whose examples are records of a data file or data set."""

    train: DataSource
    """The source of the training prompts."""
    eval: DataSource | None = None
    """The source of the held-out prompts. Without held-out prompts nothing is evaluated."""

    @property
    def has_held_out(self) -> bool:
        """See ``Task``."""
        return self.eval is not None

    @abstractmethod
    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example. Raises ``DataError`` with ``source``, the line and the field."""


class ChatTask(RecordTask):
    """The settings that the tasks of public data sets share."""

    chat_template: bool = True
    """Whether the tokenizer's chat template wraps each prompt as a user message."""
    prompt_suffix: str = ""
    """A text that is appended to every prompt."""


def exact_match(right: bool) -> Marks:
    """The marks of a task whose answers are only right or wrong."""
    return {"exact_match": float(right)}


def require_references(example: Example) -> tuple[str, ...]:
    """All gold answers of ``example``. Raises ``UnmarkedError`` if any gold answer is blank."""
    if not all(reference.strip() for reference in example.all_references):
        raise UnmarkedError("the reference is empty")
    return example.all_references


def text_field(
    record: Mapping[str, object], field: str, number: int, source: str, *, may_be_blank: bool = False
) -> str:
    """The text that ``record`` holds under ``field``, unchanged.

    Raises ``DataError`` with ``source`` and the line ``number`` if the field is missing, holds no text, or is blank.
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
    """The value that ``record`` holds under ``field``. If it is missing, raises ``DataError`` with all field names."""
    if field not in record:
        known = ", ".join(sorted(record)) or "none"
        raise DataError(f'no field "{field}" (there are: {known})', source=source, line=number)
    return record[field]
