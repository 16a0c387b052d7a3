"""Anyone's own data: one JSON object a line, with a prompt and a reference answer in it."""

import re
from collections.abc import Mapping

from adaswitch.errors import ConfigError
from adaswitch.tasks.base import Example, text_field


class JsonlTask:
    """Exact match of the answer, which is the whole text or what a pattern finds in it."""

    name = "jsonl"

    def __init__(
        self,
        prompt_field: str = "prompt",
        reference_field: str = "reference",
        chat_template: bool = False,
        answer_regex: str | None = None,
    ) -> None:
        """Raises ``ConfigError`` where ``answer_regex`` is no regular expression."""
        self.prompt_field = prompt_field
        self.reference_field = reference_field
        self.chat_template = chat_template
        self._pattern = None if answer_regex is None else _compiled(answer_regex)

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example.

        Raises ``DataError`` with ``source``, the line ``number`` and the field where one is missing or empty.
        """
        prompt = text_field(record, self.prompt_field, number, source)
        return Example(prompt, text_field(record, self.reference_field, number, source), number)

    def mark(self, completion: str, example: Example) -> bool:
        """Whether the answer in ``completion`` is, white space around it apart, the reference's.

        Where ``answer_regex`` finds nothing in a completion it is wrong; a reference in which it finds
        nothing is the bare answer itself.
        """
        answer = self.extract(completion)
        expected = self.extract(example.reference)
        return answer is not None and answer == (example.reference.strip() if expected is None else expected)

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


def _compiled(answer_regex: str) -> re.Pattern[str]:
    try:
        return re.compile(answer_regex)
    except re.error as error:
        raise ConfigError(f"task.answer_regex: no regular expression: {error}") from None
