"""A user's own data: one JSON object in each line, with a prompt and one or more reference answers."""

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from adaswitch.errors import ConfigError, DataError
from adaswitch.tasks.base import (
    Example,
    Marks,
    RecordTask,
    any_field,
    exact_match,
    require_references,
    require_text,
    text_field,
)
from adaswitch.tasks.functions import apply_metric, load_metric
from adaswitch.tasks.rouge import METRICS, Rouge


class JsonlTask(RecordTask):
    """A user's own data: one JSON object in each line.

    An answer is marked by exact match, where the answer is the whole text or what a pattern finds in the text; by
    ROUGE; or by the user's own metric.
    """

    kind: Literal["jsonl"] = "jsonl"
    prompt_field: str = "prompt"
    """The key of the prompt in each JSON object."""
    reference_field: str = "reference"
    """The key of the right answer in each JSON object. Its value is a string, or a list of several right answers."""
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
        """``record`` as an example. The reference in ``record`` may be a string or a list of strings.

        Raises ``DataError`` with ``source``, the line ``number`` and the field if a field is missing or has the wrong
        type, or if the prompt is empty. With the user's own metric the reference may be missing.
        """
        prompt = text_field(record, self.prompt_field, number, source)
        if ":" in self.metric and self.reference_field not in record:
            return Example(prompt, "", number, record=record, source=source)
        references = self._references(record, number, source)
        several = references if len(references) > 1 else ()
        return Example(prompt, references[0], number, references=several, record=record, source=source)

    def _references(self, record: Mapping[str, object], number: int, source: str) -> tuple[str, ...]:
        value, name = (
            any_field(record, self.reference_field, number, source),
            f'field "{self.reference_field}"',
        )
        if not isinstance(value, list):
            return (require_text(value, name, number, source),)
        if not value:
            raise DataError(
                f"{name} must be a string or a list of strings, and is an empty list",
                source=source,
                line=number,
            )
        return tuple(
            require_text(element, f"{name}, element {place}", number, source)
            for place, element in enumerate(value, start=1)
        )

    def mark(self, completion: str, example: Example) -> Marks:
        """The marks by this task's metric. A user's own metric is called with the completion and the record."""
        if self.metric == "exact_match":
            return ExactMatch(self.answer_regex).mark(completion, example)
        if self.metric == "rouge":
            return Rouge().mark(completion, require_references(example))
        return {self.metrics[0]: apply_metric(load_metric(self.metric), completion, example.record)}


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


def _compiled(answer_regex: str) -> re.Pattern[str]:
    try:
        return re.compile(answer_regex)
    except re.error as error:
        raise ConfigError(f"task.answer_regex: no regular expression: {error}") from None
