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
from adaswitch.errors import UnmarkedError
from adaswitch.tasks.chat import Chat, Day, Message, TemplateVariables

Marks = Mapping[str, float]
"""The marks of a completion by the metric's name, each from 0 (wrong) to 1 (right)."""


@dataclass(frozen=True)
class Example:
    """One prompt and its gold answer.

    ``Example(prompt="3+5*7-2=", reference="3+5=8;8*7=6;6-2=4;#4", number=1)``
    """

    prompt: str
    """The text that the models are asked, before any chat template is applied. Of a conversation, the last message."""
    reference: str
    """The data set's own completion, without an end-of-sequence token. If it is empty, no completion is marked."""
    number: int
    """The number of the record in its split, counted from 1. In a single file it is the line number; several files are
    counted through."""
    split: str = "eval"
    """The group under which the example is reported: ``eval``, a harder split, or a kind of question."""
    references: tuple[str, ...] = ()
    """All gold answers, where the data set has several for one prompt."""
    record: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)
    """The record as it was read, for a user's own metric. Empty for generated prompts."""
    source: str = field(default="", compare=False)
    """The file or data set that the example comes from. Empty for generated prompts."""
    line: int | None = field(default=None, compare=False)
    """The line in ``source``, counted from 1, if it is not ``number``."""
    messages: tuple[Message, ...] = ()
    """The whole conversation, if the prompt is one, of which ``prompt`` is the last message. Only a chat template can
    render it."""
    frame: tuple[str, str] = field(default=("", ""), compare=False)
    """The texts at the start and at the end of ``prompt`` that the task puts there. They stay when a prompt is cut."""

    @property
    def line_number(self) -> int:
        """The line in ``source``, counted from 1."""
        return self.number if self.line is None else self.line

    @property
    def place(self) -> str:
        """The example's place, for messages: ``train.jsonl, line 3``, or ``record 3 (longer)`` if it is generated."""
        return (
            f"{self.source}, line {self.line_number}"
            if self.source
            else f"record {self.number} ({self.split})"
        )

    @property
    def title(self) -> str:
        """The example's name in reports: ``eval, record 3``, and its place if that is not told by the number."""
        name = f"{self.split}, record {self.number}"
        return name if self.line is None else f"{name} ({self.place})"

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
    def chat(self) -> Chat:
        """What the chat template is given beside the prompt, if the task wraps its prompts."""
        return Chat()

    def asking(self, text: str) -> str:
        """``text`` as a prompt of this task, between its ``prompt_prefix`` and ``prompt_suffix`` if it has them."""
        return f"{getattr(self, 'prompt_prefix', '')}{text}{getattr(self, 'prompt_suffix', '')}"

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

    def compared(self, completion: str, example: Example) -> str | None:
        """What ``mark`` compared with what, in words, if the task can say so: for people who wonder at a score of 0."""
        return None


class GeneratedTask(Task):
    """A task that makes its own prompts."""

    @abstractmethod
    def examples(self, split: Split) -> list[Example]:
        """The examples of a split. In each held-out split (``Example.split``), ``number`` counts from 1."""


class DataSource(Settings):
    """The place that records come from: local files, or a named data set of the Hugging Face hub."""

    path: str | list[str] | None = None
    """The path of a local file, a pattern such as ``data/*.jsonl``, or a list of both. A file holds JSON lines, an
    array of JSON objects, or Parquet, and may be compressed with gzip. A file that is named twice is read once."""
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
        if self.path is not None and (not self.path or not all(self.path)):
            raise ValueError("path names no file: write a path, a pattern, or a list of them")
        return self


TooLong = Literal["refuse", "skip", "truncate"]


class RecordTask(Task):
    """A task whose examples are records of a data file or data set."""

    train: DataSource
    """The source of the training prompts."""
    eval: DataSource | None = None
    """The source of the held-out prompts. Without held-out prompts nothing is evaluated."""
    too_long: TooLong = "refuse"
    """What happens to a record whose prompt leaves no room for ``student.max_new_tokens`` in the longest sequence that
    both models take. ``refuse`` ends the run before it starts. ``skip`` leaves the record out. ``truncate`` drops the
    oldest turns of a conversation, and then cuts the beginning of the record's own text; system prompt, chat template,
    ``prompt_prefix`` and ``prompt_suffix`` stay whole. The start and the summary say how many were left out or cut."""
    max_prompt_tokens: int | None = Field(default=None, ge=1)
    """The largest number of tokens in a prompt; ``too_long`` says what happens to longer ones. By default it is as many
    as both models take. Set it if the teacher is served elsewhere and takes shorter sequences than the student."""

    @property
    def has_held_out(self) -> bool:
        """See ``Task``."""
        return self.eval is not None

    @abstractmethod
    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example. Raises ``DataError`` with ``source``, the line and the field."""


class ChatTask(RecordTask):
    """The settings that the tasks with prompts for chat models share."""

    chat_template: bool = True
    """Whether the tokenizer's chat template wraps each prompt as a user message."""
    prompt_suffix: str = ""
    """A text that is appended to every prompt."""
    system_prompt: str | None = None
    """The system message that the chat template puts before every prompt. Without it there is none but the template's
    own; an empty text is an empty system message. A conversation that begins with a system message keeps its own."""
    chat_template_kwargs: TemplateVariables = Field(default_factory=dict)
    """Variables of the chat template by name, such as ``{enable_thinking: false}``."""
    date: Day | None = None
    """The day that the chat template takes for today, as in ``2026-11-30``, for templates that write a date. By default
    it is the day of the run's first attempt, so that a run that is resumed has the same prompts."""

    @model_validator(mode="after")
    def _for_a_template(self) -> Self:
        for name in ("system_prompt", "chat_template_kwargs"):
            if getattr(self, name) not in (None, {}) and not self.chat_template:
                raise ValueError(f"{name} is for the chat template: set chat_template: true, or leave it out")
        return self

    @property
    def chat(self) -> Chat:
        """See ``Task``."""
        return Chat(self.system_prompt, self.chat_template_kwargs, self.date)


def exact_match(right: bool) -> Marks:
    """The marks of a task whose answers are only right or wrong."""
    return {"exact_match": float(right)}


def require_references(example: Example) -> tuple[str, ...]:
    """All gold answers of ``example``. Raises ``UnmarkedError`` if any gold answer is blank."""
    if not all(reference.strip() for reference in example.all_references):
        raise UnmarkedError("the reference is empty")
    return example.all_references
