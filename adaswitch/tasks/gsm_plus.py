"""GSM-Plus (arXiv 2402.19255): GSM8K's questions, each altered in eight ways, to see how robust a model's answers are.

Every kind of alteration (``perturbation_type``) is a split of its own. Questions of the type "critical thinking" lack
a fact that is needed, and their answer is "None": a completion is right if it declines to answer. The public
evaluation looks for certain phrases in the completion, and also counts a completion without ``####`` as declining. By
that rule a model that rambles to its token limit would do best of all. So here a completion declines if it gives no
number after ``####``, and either has "None" there or contains one of the phrases. If there are several ``####``, the
last counts, as in the public evaluation. Answers are compared exactly, without a tolerance for rounding.
"""

import re
from collections.abc import Mapping
from typing import Literal

from adaswitch.errors import DataError
from adaswitch.tasks.base import ChatTask, Example, Marks, exact_match, require_references
from adaswitch.tasks.fields import text_field
from adaswitch.tasks.gsm8k import example_from_record
from adaswitch.tasks.numbers import behind_thinking, final_number, marked_number

# The phrases of the public evaluation, and the same phrases in the passive voice.
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
# A number that is stated as the answer. Such a completion does not decline, whatever it says about the question.
_STATED_ANSWER = re.compile(r"answer(?: is|:)\W*\d|\\boxed\W*\d")

_OWN_FIELDS = ("solution", "seed_question", "seed_solution", "seed_answer")
"""Fields that all records of GSM-Plus have. Records of GSM8K have none of these fields."""


class GsmPlusTask(ChatTask):
    """GSM8K altered in eight ways (GSM-Plus), reported for each of them; trained on GSM8K or on GSM-Plus.

    Answers are marked as those of GSM8K are. A question without an answer must be declined.
    """

    kind: Literal["gsm_plus"] = "gsm_plus"

    @property
    def default_new_tokens(self) -> int:
        """See ``Task``."""
        return 512

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """A GSM-Plus ``record`` as an example, or a GSM8K ``record`` (for training), which lacks GSM-Plus's own fields.

        Raises ``DataError`` with ``source``, the line ``number`` and the field if a field is missing, or if a
        solution has neither a number nor "None" to mark by.
        """
        if "perturbation_type" not in record:
            _refuse_own_fields(record, number, source)
            return example_from_record(record, number, source, self.prompt_suffix)
        question = text_field(record, "question", number, source)
        solution = text_field(record, "solution", number, source, may_be_blank=True)
        if solution.strip() and final_number(solution, last=True) is None and not declines(solution):
            raise DataError('field "solution" holds no answer to mark by', source=source, line=number)
        kind = text_field(record, "perturbation_type", number, source)
        prompt, frame = question + self.prompt_suffix, ("", self.prompt_suffix)
        return Example(prompt, solution, number, kind, record=record, source=source, frame=frame)

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
    """The answer: behind what the model thinks, and up to where it adds another question, as the public evaluation."""
    return behind_thinking(completion).lstrip().partition("\nQuestion:")[0]


def _says_none(text: str) -> bool:
    """Whether "None" follows the last of all ``####`` that are followed by a number or by "None"."""
    plain = _plain(text)
    marks = list(_MARKED_NONE.finditer(plain))
    if marks:
        return marked_number(plain[marks[-1].end() :]) is None
    return bool(_BOLD_NONE.search(plain)) and marked_number(plain) is None


def _plain(text: str) -> str:
    return text.lower().replace("\u2019", "'")
