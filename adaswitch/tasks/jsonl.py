"""Anyone's own data: one JSON object a line, with a prompt and a reference answer or several in it."""

import re
from collections.abc import Callable, Mapping

from adaswitch.errors import ConfigError, DataError
from adaswitch.tasks.base import (
    Example,
    Marks,
    any_field,
    exact_match,
    require_references,
    require_text,
    text_field,
)
from adaswitch.tasks.functions import apply_metric, load_metric
from adaswitch.tasks.rouge import METRICS, Rouge


class JsonlTask:
    """Exact match of the answer, which is the whole text or what a pattern finds in it; ROUGE; or one's own."""

    name = "jsonl"

    def __init__(
        self,
        prompt_field: str = "prompt",
        reference_field: str = "reference",
        chat_template: bool = False,
        answer_regex: str | None = None,
        metric: str = "exact_match",
    ) -> None:
        """``metric`` is ``exact_match``, ``rouge`` or a function's import path, as in ``my_metrics:length``.

        Raises ``ConfigError`` where ``answer_regex`` is no regular expression, or the function is not found.
        """
        self.prompt_field = prompt_field
        self.reference_field = reference_field
        self.chat_template = chat_template
        self.metrics, self._mark = _marker(metric, answer_regex)
        self._needs_reference = ":" not in metric

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example. Its reference may be a string or a list of them.

        Raises ``DataError`` with ``source``, the line ``number`` and the field where one is missing or of
        another type, or the prompt is empty. A metric of one's own needs no reference.
        """
        prompt = text_field(record, self.prompt_field, number, source)
        if not self._needs_reference and self.reference_field not in record:
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
        """The marks by this task's metric."""
        return self._mark(completion, example)


class ExactMatch:
    """Whether the answer in a completion is, white space around it apart, the answer in a reference."""

    def __init__(self, answer_regex: str | None = None) -> None:
        """Raises ``ConfigError`` where ``answer_regex`` is no regular expression."""
        self._pattern = None if answer_regex is None else _compiled(answer_regex)

    def mark(self, completion: str, example: Example) -> Marks:
        """1 where any reference has the answer of ``completion``.

        Where the pattern finds nothing in a completion it is wrong; a reference in which it finds nothing is
        the bare answer itself.
        """
        answer = self.extract(completion)
        expected = [self._expected(reference) for reference in require_references(example)]
        return exact_match(answer is not None and answer in expected)

    def _expected(self, reference: str) -> str:
        answer = self.extract(reference)
        return reference.strip() if answer is None else answer

    def extract(self, text: str) -> str | None:
        """The answer in ``text``: group 1 of the last match, or the whole match without a group."""
        if self._pattern is None:
            return text.strip()
        matches = list(self._pattern.finditer(text))
        if not matches:
            return None
        # A group that took no part in the match is None, and so no answer.
        answer = matches[-1][1 if self._pattern.groups else 0]
        return answer.strip() if answer is not None else None


def _marker(metric: str, answer_regex: str | None) -> tuple[tuple[str, ...], Callable[[str, Example], Marks]]:
    """The names of a metric's marks, and the rule."""
    if metric == "exact_match":
        return ("exact_match",), ExactMatch(answer_regex).mark
    if metric == "rouge":
        rouge = Rouge()
        return METRICS, lambda completion, example: rouge.mark(completion, require_references(example))
    function = load_metric(metric)
    name = metric.partition(":")[2]
    return (name,), lambda completion, example: {name: apply_metric(function, completion, example.record)}


def _compiled(answer_regex: str) -> re.Pattern[str]:
    try:
        return re.compile(answer_regex)
    except re.error as error:
        raise ConfigError(f"task.answer_regex: no regular expression: {error}") from None
