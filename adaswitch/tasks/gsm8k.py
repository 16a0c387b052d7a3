"""GSM8K: grade-school maths word problems (Cobbe et al., arXiv 2110.14168), marked by their final number."""

import re
from collections.abc import Mapping
from decimal import Decimal

from adaswitch.errors import DataError
from adaswitch.tasks.base import Example, text_field

# A minus behind a word or a bracket subtracts: it is no sign of the number that follows.
_NUMBER = r"(?:(?<![\w)])-)?(?:(?:\d{1,3}(?:,\d{3})+\b|\d+)(?:\.\d+)?|\.\d+)"
_ANY_NUMBER = re.compile(_NUMBER, re.ASCII)
_FINAL_NUMBER = re.compile(rf"####\s*({_NUMBER})", re.ASCII)
_CURRENCY = str.maketrans({"$": "", "€": "", "£": "", "\u2212": "-"})


class Gsm8kTask:
    """Compares final numbers as numbers: ``1,000``, ``$1000`` and ``1000.00`` are the same answer."""

    name = "gsm8k"

    def __init__(self, chat_template: bool = True, prompt_suffix: str = "") -> None:
        """``prompt_suffix`` is appended to every question as it stands."""
        self.chat_template = chat_template
        self.prompt_suffix = prompt_suffix

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` as an example; see ``example_from_record``."""
        return example_from_record(record, number, source, self.prompt_suffix)

    def mark(self, completion: str, example: Example) -> bool:
        """Whether ``completion`` ends in the number that the reference ends in."""
        answer = extract_answer(completion)
        return answer is not None and answer == extract_answer(example.reference)


def example_from_record(
    record: Mapping[str, object], number: int, source: str, prompt_suffix: str = ""
) -> Example:
    """A record's fields ``question`` and ``answer`` as an example.

    Raises ``DataError`` with ``source``, the line ``number`` and the field where one is missing or empty, or
    where there is no number in the answer.
    """
    question = text_field(record, "question", number, source)
    answer = text_field(record, "answer", number, source)
    if extract_answer(answer) is None:
        raise DataError('field "answer" holds no number to mark by', source=source, line=number)
    return Example(question + prompt_suffix, answer, number)


def extract_answer(text: str) -> Decimal | None:
    """The final number of ``text``, as the public evaluations of GSM8K read it; ``None`` if there is none.

    It is the number behind the first ``####`` that has one, else the last number of the text. Thousands
    separators, currency and percent signs and a trailing full stop do not count.

    >>> extract_answer("So she has 3 bags.\\n#### $1,200.50")
    Decimal('1200.50')
    >>> extract_answer("That is 12 - 5 = 7 apples.")
    Decimal('7')
    """
    plain = text.translate(_CURRENCY)
    final = _FINAL_NUMBER.search(plain)
    if final is not None:
        return Decimal(final[1].replace(",", ""))
    numbers = _ANY_NUMBER.findall(plain)
    return Decimal(numbers[-1].replace(",", "")) if numbers else None
