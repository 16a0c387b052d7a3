"""GSM8K: grade-school maths word problems (Cobbe et al., arXiv 2110.14168), marked by their final number."""

from collections.abc import Mapping
from typing import Literal

from adaswitch.errors import DataError
from adaswitch.tasks.base import ChatTask, Example, Marks, exact_match, require_references
from adaswitch.tasks.fields import text_field
from adaswitch.tasks.numbers import final_number


class Gsm8kTask(ChatTask):
    """Grade-school maths word problems (GSM8K): the number after ``####`` is the answer.

    Final numbers are compared as numbers: ``1,000``, ``$1000`` and ``1000.00`` are the same answer.
    """

    kind: Literal["gsm8k"] = "gsm8k"

    @property
    def default_new_tokens(self) -> int:
        """See ``Task``."""
        return 512

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example; see ``example_from_record``."""
        return example_from_record(record, number, source, self.prompt_suffix)

    def mark(self, completion: str, example: Example) -> Marks:
        """Whether ``completion`` has the same final number as the reference."""
        [reference] = require_references(example)
        answer = final_number(completion)
        return exact_match(answer is not None and answer == final_number(reference))


def example_from_record(
    record: Mapping[str, object], number: int, source: str, prompt_suffix: str = ""
) -> Example:
    """A record's fields ``question`` and ``answer`` as an example.

    Raises ``DataError`` with ``source``, the line ``number`` and the field if a field is missing, if the question is
    empty, or if an answer has no number.
    """
    question = text_field(record, "question", number, source)
    answer = text_field(record, "answer", number, source, may_be_blank=True)
    if answer.strip() and final_number(answer) is None:
        raise DataError('field "answer" holds no number to mark by', source=source, line=number)
    prompt, frame = question + prompt_suffix, ("", prompt_suffix)
    return Example(prompt, answer, number, record=record, source=source, frame=frame)
