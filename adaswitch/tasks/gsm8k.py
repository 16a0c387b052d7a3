"""GSM8K: grade-school maths word problems (Cobbe et al., arXiv 2110.14168), marked by their final number."""

from collections.abc import Mapping

from adaswitch.errors import DataError
from adaswitch.tasks.base import Example, Marks, exact_match, require_references, text_field
from adaswitch.tasks.numbers import final_number


class Gsm8kTask:
    """Compares final numbers as numbers: ``1,000``, ``$1000`` and ``1000.00`` are the same answer."""

    name = "gsm8k"
    metrics: tuple[str, ...] = ("exact_match",)

    def __init__(self, chat_template: bool = True, prompt_suffix: str = "") -> None:
        """``prompt_suffix`` is appended to every question as it stands."""
        self.chat_template = chat_template
        self.prompt_suffix = prompt_suffix

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example; see ``example_from_record``."""
        return example_from_record(record, number, source, self.prompt_suffix)

    def mark(self, completion: str, example: Example) -> Marks:
        """Whether ``completion`` ends in the number that the reference ends in."""
        [reference] = require_references(example)
        answer = final_number(completion)
        return exact_match(answer is not None and answer == final_number(reference))


def example_from_record(
    record: Mapping[str, object], number: int, source: str, prompt_suffix: str = ""
) -> Example:
    """A record's fields ``question`` and ``answer`` as an example.

    Raises ``DataError`` with ``source``, the line ``number`` and the field where one is missing, where the
    question is empty, or where there is no number in an answer.
    """
    question = text_field(record, "question", number, source)
    answer = text_field(record, "answer", number, source, may_be_blank=True)
    if answer.strip() and final_number(answer) is None:
        raise DataError('field "answer" holds no number to mark by', source=source, line=number)
    return Example(question + prompt_suffix, answer, number, record=record, source=source)
