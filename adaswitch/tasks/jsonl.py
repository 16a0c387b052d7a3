"""A user's own data: records of a file, each with a prompt and one or more reference answers."""

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from adaswitch.errors import ConfigError, DataError
from adaswitch.registry.own_code import writable
from adaswitch.tasks.base import ChatTask, Example, Marks, exact_match, require_references
from adaswitch.tasks.chat import Message, conversation
from adaswitch.tasks.fields import any_field, has_field, require_answer, require_text, require_words
from adaswitch.tasks.functions import apply_metric, load_metric
from adaswitch.tasks.rouge import METRICS, Rouge

MAX_SHOWN = 80
"""The largest number of characters of a text that a message shows."""


class JsonlTask(ChatTask):
    """A user's own data: records of a JSON-lines or Parquet file.

    An answer is marked by exact match, where the answer is the whole text or what a pattern finds in the text; by
    ROUGE; or by the user's own metric.
    """

    kind: Literal["jsonl"] = "jsonl"
    prompt_field: str = "prompt"
    """The key of the prompt in each record, or the path to it, as in ``conversations.0.value`` for nested objects and
    lists. Its value is a string or, with ``chat_template``, a list of messages with ``role`` and ``content``."""
    reference_field: str = "reference"
    """The key of the right answer in each record, or the path to it. Its value is a string, a number, or a list of
    several right answers."""
    chat_template: bool = False
    """Whether the tokenizer's chat template wraps each prompt as a user message."""
    answer_regex: str | None = None
    """The regular expression that finds the answer in a text, for the metric ``exact_match`` only. The answer is group
    1 of the last match, or the whole match if there is no group. Without an expression the answer is the whole text."""
    metric: str = Field(default="exact_match", pattern=r"^(exact_match|rouge|[\w.]+:\w+)$")
    """The metric that marks a completion: ``exact_match``, ``rouge``, or your own function as ``module:function``. Your
    function is called with the completion and the record, and must return a number from 0 to 1."""

    @model_validator(mode="after")
    def _pattern_is_used(self) -> Self:
        if self.answer_regex is not None and self.metric != "exact_match":
            raise ValueError(f"answer_regex is for the metric exact_match; with {self.metric} leave it out")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """See ``Task``."""
        if self.metric == "rouge":
            return METRICS
        return (self.metric.rpartition(":")[2],)

    def check(self, max_new_tokens: int | None = None) -> None:
        """Raises ``ConfigError`` if ``answer_regex`` is no regular expression, or the metric function is not found."""
        if self.answer_regex is not None:
            _compiled(self.answer_regex)
        if ":" in self.metric:
            load_metric(self.metric)

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example. The prompt may be a conversation; the reference may be a list of several.

        Raises ``DataError`` with ``source``, the line ``number`` and the field if a field is missing or has the wrong
        type, or if the prompt is empty. With the user's own metric the reference may be missing.
        """
        prompt, messages = self._prompt(record, number, source)
        references = self._references(record, number, source)
        return Example(
            prompt,
            references[0],
            number,
            references=references if len(references) > 1 else (),
            record=record,
            source=source,
            messages=messages,
            frame=("", self.prompt_suffix),
        )

    def _prompt(
        self, record: Mapping[str, object], number: int, source: str
    ) -> tuple[str, tuple[Message, ...]]:
        """The text of the prompt, and the whole conversation if the prompt is one."""
        value, name = any_field(record, self.prompt_field, number, source), f'field "{self.prompt_field}"'
        if not isinstance(value, list | tuple):
            text = require_words(require_text(value, name, number, source), name, number, source)
            return text + self.prompt_suffix, ()
        if not self.chat_template:
            raise DataError(
                f"{name} is a list of messages, which only a chat template can render: set task.chat_template to "
                "true, or name one text by a path, as in messages.0.content",
                source=source,
                line=number,
            )
        *earlier, last = conversation(value, name, number, source)
        prompt = f"{last['content']}{self.prompt_suffix}"
        return prompt, (*earlier, {**last, "content": prompt})

    def _references(self, record: Mapping[str, object], number: int, source: str) -> tuple[str, ...]:
        if ":" in self.metric and not has_field(record, self.reference_field):
            return ("",)
        value, name = (
            any_field(record, self.reference_field, number, source),
            f'field "{self.reference_field}"',
        )
        if not isinstance(value, list | tuple):
            return (require_answer(value, name, number, source),)
        if not value:
            raise DataError(
                f"{name} must be a string, a number or a list of them, and is an empty list",
                source=source,
                line=number,
            )
        return tuple(
            require_answer(element, f"{name}, element {place}", number, source)
            for place, element in enumerate(value, start=1)
        )

    def mark(self, completion: str, example: Example) -> Marks:
        """The marks by this task's metric. A user's own metric is called with the completion and the record."""
        if self.metric == "exact_match":
            return ExactMatch(self.answer_regex).mark(completion, example)
        if self.metric == "rouge":
            return Rouge().mark(completion, require_references(example))
        return {self.metrics[0]: apply_metric(load_metric(self.metric), completion, example.record)}

    def compared(self, completion: str, example: Example) -> str | None:
        """The answers in ``completion`` and in the first reference, and the setting that says what an answer is."""
        if self.metric != "exact_match":
            return None
        return ExactMatch(self.answer_regex).compared(completion, example)


class ExactMatch:
    """Whether the answer in a completion equals the answer in a reference, apart from white space around them."""

    def __init__(self, answer_regex: str | None = None) -> None:
        """Raises ``ConfigError`` if ``answer_regex`` is no regular expression."""
        self._pattern = None if answer_regex is None else _compiled(answer_regex)

    def mark(self, completion: str, example: Example) -> Marks:
        """The mark 1 if any reference has the same answer as ``completion``, and 0 otherwise.

        A completion in which the pattern finds nothing is wrong. A reference in which the pattern finds nothing is
        taken to be the bare answer.
        """
        answer = self.extract(completion)
        expected = [self._expected(reference) for reference in require_references(example)]
        return exact_match(answer is not None and answer in expected)

    def compared(self, completion: str, example: Example) -> str:
        """What was compared with what, shortened, and how ``answer_regex`` would change it."""
        answer, expected = self.extract(completion), self._expected(example.all_references[0])
        if self._pattern is None:
            return (
                f"the whole completion {shown(completion)} was compared with the whole reference {shown(expected)}; if "
                "they hold the working as well as the answer, set task.answer_regex to what finds the answer, as in "
                "'#### (.+)'"
            )
        found = f"found no answer in the completion {shown(completion)}"
        if answer is not None:
            found = f"found {shown(answer)} in the completion"
        return f"task.answer_regex {found}, and the reference's answer is {shown(expected)}"

    def _expected(self, reference: str) -> str:
        answer = self.extract(reference)
        return reference.strip() if answer is None else answer

    def extract(self, text: str) -> str | None:
        """The answer in ``text``: group 1 of the last match, or the whole match if the pattern has no group."""
        if self._pattern is None:
            return text.strip()
        matches = list(self._pattern.finditer(text))
        if not matches:
            return None
        # A group that took no part in the match is None: there is no answer.
        answer = matches[-1][1 if self._pattern.groups else 0]
        return answer.strip() if answer is not None else None


def shown(text: str) -> str:
    """``text`` for a message: its beginning and its end, where the answer often is, on one line."""
    line = " ".join(text.split())
    if len(line) > MAX_SHOWN:
        half = MAX_SHOWN // 2
        line = f"{line[:half]} ... {line[len(line) - half :]}"
    return repr(writable(line))


def _compiled(answer_regex: str) -> re.Pattern[str]:
    try:
        return re.compile(answer_regex)
    except re.error as error:
        raise ConfigError(f"task.answer_regex: no regular expression: {error}") from None
