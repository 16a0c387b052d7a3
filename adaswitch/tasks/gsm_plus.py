"""GSM-Plus (arXiv 2402.19255): GSM8K's questions, each altered in eight ways, to see what an answer rests on.

Every way (``perturbation_type``) is a split of its own. Questions of the type "critical thinking" lack a fact
that is needed, and their answer is "None": right is who says so. The public evaluation looks for certain
phrases there, and counts a completion without ``####`` as one that declines; by that rule a model that
rambles to its token limit would do best of all. So here it is declining to give no number behind ``####``
and either "None" there or one of the phrases. Answers are compared exactly, without a tolerance for rounding.
"""

import re
from collections.abc import Mapping

from adaswitch.errors import DataError
from adaswitch.tasks.base import Example, Marks, exact_match, require_references, text_field
from adaswitch.tasks.gsm8k import example_from_record
from adaswitch.tasks.numbers import final_number, marked_number

# The public evaluation's phrases, and the same in the passive voice.
_DECLINING = re.compile(
    r"(?:does not|doesn't|do not|don't|did not|didn't|not) (?:specify|mention|provide|say|state)"
    r"|(?:can't|cannot|can not|could not|couldn't) (?:be )?"
    r"(?:provided?|calculated?|determined?|answer(?:ed)?|solved?)"
    r"|(?:do not|don't) (?:know|have enough)"
    r"|(?:not|isn't) (?:have )?(?:enough|sufficient) (?:information|data)|insufficient (?:information|data)"
    r"|not (?:specified|mentioned|provided|given|stated)"
    r"|missing (?:necessary )?information"
    r"|answer(?: is|:) none\b"
)
_FINAL_NONE = re.compile(r"####\W*(?:boxed\W+|text\W+)?(?:none\b|n/a\b)|\*\*\W*none\W*$")
# A number that is named as the answer, whatever was said of the question before.
_STATED_ANSWER = re.compile(r"answer(?: is|:)\W*\d|\\boxed\W*\d")


class GsmPlusTask:
    """Marks as ``Gsm8kTask`` does, and whether a question without an answer is declined."""

    name = "gsm_plus"
    metrics: tuple[str, ...] = ("exact_match",)

    def __init__(self, chat_template: bool = True, prompt_suffix: str = "") -> None:
        """``prompt_suffix`` is appended to every question as it stands."""
        self.chat_template = chat_template
        self.prompt_suffix = prompt_suffix

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` of GSM-Plus, or of GSM8K to train on: the one has a ``perturbation_type``.

        Raises ``DataError`` with ``source``, the line ``number`` and the field where one is missing, or where
        a solution has neither a number nor "None" to mark by.
        """
        if "perturbation_type" not in record:
            return example_from_record(record, number, source, self.prompt_suffix)
        question = text_field(record, "question", number, source)
        solution = text_field(record, "solution", number, source, may_be_blank=True)
        if solution.strip() and final_number(solution) is None and not declines(solution):
            raise DataError('field "solution" holds no answer to mark by', source=source, line=number)
        kind = text_field(record, "perturbation_type", number, source)
        return Example(question + self.prompt_suffix, solution, number, kind, record=record)

    def mark(self, completion: str, example: Example) -> Marks:
        """Whether ``completion`` ends in the reference's number, or declines where the reference does."""
        [reference] = require_references(example)
        if _FINAL_NONE.search(_plain(reference)):
            return exact_match(declines(completion))
        if _FINAL_NONE.search(_plain(completion)) and marked_number(completion) is None:
            return exact_match(False)
        answer = final_number(completion)
        return exact_match(answer is not None and answer == final_number(reference))


def declines(completion: str) -> bool:
    """Whether ``completion`` says that the question has no answer, and states none."""
    if marked_number(completion) is not None:
        return False
    text = _plain(completion)
    if _FINAL_NONE.search(text):
        return True
    return bool(_DECLINING.search(text)) and not _STATED_ANSWER.search(text)


def _plain(text: str) -> str:
    return text.lower().replace("\u2019", "'")
