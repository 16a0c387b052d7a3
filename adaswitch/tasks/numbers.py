"""The final number of a worked answer: where a model states it, and what number it is.

``adaswitch.tasks.number_text`` reads the numbers themselves. The marks ``####`` are read as the public evaluations of
GSM8K and GSM-Plus read them.
"""

import re
from collections.abc import Collection
from fractions import Fraction

from adaswitch.tasks.number_text import ANY_NUMBER, NUMBER, undecorated, unified, value_of

# The text after a ``####`` mark: space and emphasis, which may run over line ends, then the rest of the line.
_MARKED = re.compile(r"#{4,}([\s*_`]*)((?:(?!####)[^\n])*)")
_EQUALS = re.compile(rf"=\s*({NUMBER})", re.ASCII | re.IGNORECASE)
# What stands behind a number that is not the answer itself, but the start of a calculation: "3 + 15 = 18".
_CALCULATION = re.compile(
    r"[^\n=\d]{0,12}(?:[-+*/x\u00d7\u00f7]|\\(?:times|cdot|div)\b|\b(?:of|times|plus|minus|divided by) [$\d(])[^\n=]*="
)
# Markdown headings begin with the same mark: "#### Step 1: the price of 3 apples".
_HEADING = re.compile(r"(?:step|part|case|example|method|problem)\W*\d|question\b", re.ASCII | re.IGNORECASE)

MAX_BOXED = 200
"""The largest number of characters that are read of what stands in a box."""
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{?")

MAX_SENTENCE = 300
"""The largest number of characters that are read of a sentence in which an answer is stated."""

_VERB = r"(?:is|are|was|equals?|becomes|comes (?:out )?(?:to|as)|(?:should|would|will|must) be)"
_FILLER = (
    r"(?:thus|therefore|simply|just|exactly|about|approximately|approx\.?|around|roughly|equal to|that|now|then|"
    r"indeed|obviously|clearly|found to be|given by)"
)
# "The answer is", "Final Answer:", "answer = ", and "A:" at the start of a line.
_STATEMENT = re.compile(
    rf"\bans(?:wer)?\b[\"']?(?:(?P<verb>(?:,?\s+(?:here|therefore|thus|then),?)?\s+(?:to [^.\n]{{1,100}}? )?{_VERB}"
    rf"\b(?!\s+not\b)|['\u2019]s\b)|\s*[:=])"
    rf"|\bfinal answer\b|<answer>|^[#* \t]*answer[* \t]*$|^[ \t*_]*A\s*:",
    re.IGNORECASE | re.MULTILINE,
)
# What may stand between a statement and its number: signs, a letter of a choice, or the number in words.
_AT_ONCE = re.compile(
    rf"(?:(?:[\s*_`:=~≈\"'(\[{{}}\\#>|]|{_FILLER}\b|\b[A-Za-z]\s*=|\b[A-H][).:])*|\s+[A-Za-z -]{{1,40}}\()({NUMBER})",
    re.ASCII | re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^\n.!?]*(?:[.!?](?!\s|$)[^\n.!?]*)*")

_BOLD = re.compile(
    rf"\*\*(?:[^*\d\n:=]{{0,30}}\b(?:total|answer|result)\b[^*\d\n:=]{{0,20}}[:=])?\s*(?:=\s*)?({NUMBER})(?![.):]\s*[A-Za-z])[^*:\n]*\*\*(?!\s*:)",
    re.ASCII | re.IGNORECASE,
)
# Numbers that only count the lines of an answer: "Step 2:", and the "2." of a list.
_STEP = re.compile(r"^[ \t#*_>-]*(?:step|part|note)\W{0,3}\d+\b", re.ASCII | re.IGNORECASE)
_ITEM = re.compile(r"^[ \t*_]*(\d{1,2})[.)]\s+(?=\S)", re.ASCII)
_THINKING_ENDS = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_BRACKETS = re.compile(r"\([^()\n]*\)")
# A model that goes on with a question of its own, as in the examples that it was trained on.
_NEXT_QUESTION = re.compile(
    r"\n[ \t]*(?:\*\*|#+[ \t]*)?(?:Q|Question|Problem|Exercise|Human|User|Instruction)\s*\d*\s*(?:\*\*)?\s*:",
    re.IGNORECASE,
)


def final_number(text: str, *, last: bool = False) -> Fraction | None:
    """The final number of ``text``, or ``None`` if ``text`` has no number.

    The final number is the first of these that there is: the number that follows a ``####`` mark at once; the number
    in the last ``\\boxed``; the number of the last statement such as "the answer is"; the number of another ``####``
    mark; the last number in bold, or else outside of brackets, of the last line that has a number. A question that
    the model adds is not read, and what it thinks between ``<think>`` and ``</think>`` only if no number follows.
    Thousands separators, currency, units, percent signs, emphasis and a trailing full stop
    do not count. A fraction counts as its value. A fraction with the denominator 0 is no number.

    >>> final_number("So she has 3 bags.\\n#### $1,200.50")
    Fraction(2401, 2)
    >>> final_number("That is 12 - 5 = 7 apples.")
    Fraction(7, 1)
    >>> final_number("Hence \\\\boxed{18}. I checked it in 2 ways.")
    Fraction(18, 1)
    """
    whole = unified(text)
    answer = behind_thinking(whole)
    for part in dict.fromkeys((before_next_question(answer), answer, before_next_question(whole), whole)):
        found = _final(part, last)
        if found is not None:
            return value_of(found)
    return None


def behind_thinking(text: str) -> str:
    """``text`` from where the model ends its thinking; all of it, if it does not think, or does not end."""
    ends = [match.end() for match in _THINKING_ENDS.finditer(text)]
    return text[ends[-1] :] if ends else text


def before_next_question(text: str) -> str:
    """``text`` up to where the model adds another question, such as "Q: ..." on a line of its own."""
    start = len(text) - len(text.lstrip())
    found = _NEXT_QUESTION.search(text, start)
    return text[: found.start()] if found else text


def marked_number(text: str, *, last: bool = False) -> Fraction | None:
    """The number after a ``####`` mark, or ``None`` if no mark has a number.

    The number of a mark is the number that follows the mark directly, or the result if a calculation follows;
    otherwise the number after the last ``=`` of the line; otherwise the first number of the line. Headings such as
    ``#### Step 1`` do not count. If several marks have a number, the first number that follows its mark directly is
    taken, and otherwise the first number of all. With ``last``, the number of the last mark is taken.
    """
    marked = _marked(undecorated(unified(text)), last)
    return value_of(marked[1]) if marked is not None else None


def _final(text: str, last: bool) -> str | None:
    plain = undecorated(text)
    marked = _marked(plain, last)
    if marked is not None and (marked[0] or last):
        return marked[1]
    stated = _boxed(text) or _stated(plain)
    if stated is not None:
        return stated
    return marked[1] if marked is not None else _last(text)


def _marked(plain: str, last: bool) -> tuple[bool, str] | None:
    """The number of the mark that ``marked_number`` takes, and whether it follows the mark at once."""
    found = [
        number for gap, line in _MARKED.findall(plain) if (number := _behind_mark(gap, line)) is not None
    ]
    if not found:
        return None
    # Among equally good numbers, max takes the first.
    return found[-1] if last else max(found, key=lambda number: number[0])


def _behind_mark(gap: str, line: str) -> tuple[bool, str] | None:
    """Whether a number follows the mark directly, and the number that counts for this mark."""
    at_once = ANY_NUMBER.match(line)
    if at_once is not None:
        return True, _result(line, at_once[0], at_once.end())
    if "\n" in gap or _HEADING.match(line):
        return None
    numbers = _EQUALS.findall(line)[-1:] or ANY_NUMBER.findall(line)
    return (False, numbers[0]) if numbers else None


def _result(line: str, number: str, end: int) -> str:
    """``number``, which ends at ``end`` of ``line``; if a calculation begins with it, the calculation's result."""
    sentence = _rest_of_sentence(line, end)
    if not _CALCULATION.match(sentence):
        return number
    results = _EQUALS.findall(sentence)
    return results[-1] if results else number


def _rest_of_sentence(text: str, start: int) -> str:
    found = _SENTENCE.match(text, start, start + MAX_SENTENCE)
    return found[0] if found else ""


def _boxed(text: str) -> str | None:
    """The number in the last box that has one: the result of a calculation, or else the first."""
    for box in reversed(list(_BOX.finditer(text))):
        content = undecorated(_content(text, box.end()))
        numbers = _EQUALS.findall(content)[-1:] or ANY_NUMBER.findall(content)
        if numbers:
            return str(numbers[0])
    return None


def _content(text: str, start: int) -> str:
    """What stands in the box that opens just before ``start``, up to its closing brace or the end of the line."""
    depth = 1
    for place in range(start, min(start + MAX_BOXED, len(text))):
        character = text[place]
        depth += (character == "{") - (character == "}")
        if depth == 0 or character == "\n":
            return text[start:place]
    return text[start : start + MAX_BOXED]


def _stated(plain: str) -> str | None:
    """The number of the last statement that has one.

    It follows the statement at once. Behind "the answer is" it may also stand later in the sentence: behind its last
    ``=``, or as its only number.
    """
    for statement in reversed(list(_STATEMENT.finditer(plain))):
        at_once = _AT_ONCE.match(plain, statement.end())
        if at_once is not None:
            return _result(plain, at_once[1], at_once.end())
        if statement["verb"] is None:
            continue
        sentence = _rest_of_sentence(plain, statement.end())
        numbers = _EQUALS.findall(sentence)[-1:] or ANY_NUMBER.findall(sentence)
        if len(numbers) == 1:
            return str(numbers[0])
    return None


def _last(text: str) -> str | None:
    """The last number in bold of the last line with a number, or else the last outside of brackets."""
    lines = text.split("\n")
    items = {item[1] for line in lines if (item := _ITEM.match(line))}
    for line in reversed(lines):
        line = _uncounted(line, items)
        bold = _BOLD.findall(line)
        if bold:
            return str(bold[-1])
        plain = undecorated(line)
        numbers = ANY_NUMBER.findall(_BRACKETS.sub("()", plain)) or ANY_NUMBER.findall(plain)
        if numbers:
            return str(numbers[-1])
    return None


def _uncounted(line: str, items: Collection[str]) -> str:
    """``line`` without the number by which it is a step, or an item of a list that has the item beside it as well."""
    item = _ITEM.match(line)
    if item is not None and {str(int(item[1]) - 1), str(int(item[1]) + 1)} & set(items):
        return line[item.end() :]
    return _STEP.sub("", line)
