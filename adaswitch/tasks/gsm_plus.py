"""GSM-Plus (arXiv 2402.19255): GSM8K's questions, each altered in eight ways, to see what an answer rests on.

Every way (``perturbation_type``) is a split of its own. Questions of the type "critical thinking" lack a fact
that is needed, and their answer is "None": right is who says so. The public evaluation looks for certain
phrases there, and counts a completion without ``####`` as one that declines; by that rule a model that
rambles to its token limit would do best of all. So here it is declining to give no number behind ``####``
and either "None" there or one of the phrases. Of several ``####`` the last counts, as in the public evaluation.
Answers are compared exactly, without a tolerance for rounding.
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
_MARKED_NONE = re.compile(
    r"(?<!#)#{4,}[^\w#]*(?:(?:final )?answer\W+(?:is\W+)?)?(?:boxed\W+|text\W+)?(?:none\b|n/a\b)"
)
_BOLD_NONE = re.compile(r"(?<!\*)\*\*+[^\w*]*none\W*$")
# A number that is named as the answer, whatever was said of the question before.
_STATED_ANSWER = re.compile(r"answer(?: is|:)\W*\d|\\boxed\W*\d")

_OWN_FIELDS = ("solution", "seed_question", "seed_solution", "seed_answer")
"""Records of GSM-Plus have these, and those of GSM8K none of them."""


class GsmPlusTask:
    """Marks as ``Gsm8kTask`` does, and whether a question without an answer is declined."""

    name = "gsm_plus"
    metrics: tuple[str, ...] = ("exact_match",)

    def __init__(self, chat_template: bool = True, prompt_suffix: str = "") -> None:
        """``prompt_suffix`` is appended to every question as it stands."""
        self.chat_template = chat_template
        self.prompt_suffix = prompt_suffix

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """``record`` of GSM-Plus, or of GSM8K to train on, which has no field that is GSM-Plus's own.

        Raises ``DataError`` with ``source``, the line ``number`` and the field where one is missing, or where
        a solution has neither a number nor "None" to mark by.
        """
        if "perturbation_type" not in record:
            _refuse_own_fields(record, number, source)
            return example_from_record(record, number, source, self.prompt_suffix)
        question = text_field(record, "question", number, source)
        solution = text_field(record, "solution", number, source, may_be_blank=True)
        if solution.strip() and final_number(solution, last=True) is None and not declines(solution):
            raise DataError('field "solution" holds no answer to mark by', source=source, line=number)
        kind = text_field(record, "perturbation_type", number, source)
        prompt = question + self.prompt_suffix
        return Example(prompt, solution, number, kind, record=record, source=source)

    def mark(self, completion: str, example: Example) -> Marks:
        """Whether ``completion`` ends in the reference's number, or declines where the reference does."""
        [reference] = require_references(example)
        if _says_none(reference):
            return exact_match(declines(completion))
        own = _before_next_question(completion)
        if _says_none(own):
            return exact_match(False)
        answer = final_number(own, last=True)
        return exact_match(answer is not None and answer == final_number(reference, last=True))


def _refuse_own_fields(record: Mapping[str, object], number: int, source: str) -> None:
    """Raises ``DataError`` for a record of GSM-Plus that does not say what kind of question it is."""
    own = [field for field in _OWN_FIELDS if field in record]
    if own:
        raise DataError(
            f'no field "perturbation_type", which a record of GSM-Plus has, as this one is by its "{own[0]}": '
            "add it, or leave the record out",
            source=source,
            line=number,
        )


def declines(completion: str) -> bool:
    """Whether ``completion`` says that the question has no answer, and states none."""
    own = _before_next_question(completion)
    if _says_none(own):
        return True
    if marked_number(own) is not None:
        return False
    text = _plain(own)
    return bool(_DECLINING.search(text)) and not _STATED_ANSWER.search(text)


def _before_next_question(completion: str) -> str:
    """What a model says before it goes on with a question of its own; the public evaluation cuts there too."""
    return completion.lstrip().partition("\nQuestion:")[0]


def _says_none(text: str) -> bool:
    """Whether the last ``####`` that is followed by a number or by "None" is followed by "None"."""
    plain = _plain(text)
    marks = list(_MARKED_NONE.finditer(plain))
    if marks:
        return marked_number(plain[marks[-1].end() :]) is None
    return bool(_BOLD_NONE.search(plain)) and marked_number(plain) is None


def _plain(text: str) -> str:
    return text.lower().replace("\u2019", "'")
