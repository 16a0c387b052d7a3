"""The final number of a worked answer, as the public evaluations of GSM8K and GSM-Plus read it."""

import re
from fractions import Fraction

# A minus after a word or a bracket means subtraction, so it is not the sign of the number that follows.
_SIGN = r"(?:(?<![\w)])-)?"
_DECIMAL = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
# Matches 7/2 and 3 1/2, but no part of a date such as 3/4/2024.
_RATIO = r"(?:(?<![\d/])(?:\d+ )?\d+/\d+(?![\d/]|\.\d))"
_NUMBER = rf"{_SIGN}(?:{_RATIO}|{_DECIMAL})"
_ANY_NUMBER = re.compile(_NUMBER, re.ASCII)
# The text after a ``####`` mark: space and emphasis, which may run over line ends, then the rest of the line.
_MARKED = re.compile(r"#{4,}([\s*_`]*)((?:(?!####)[^\n])*)")
_EQUALS = re.compile(rf"=\s*({_NUMBER})", re.ASCII)
# Markdown headings begin with the same mark: "#### Step 1: the price of 3 apples".
_HEADING = re.compile(r"(?:step|part|case|example|method|problem)\W*\d|question\b", re.ASCII | re.IGNORECASE)
_LATEX_RATIO = re.compile(r"\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}", re.ASCII)
_LATEX_SPACING = re.compile(r"\{,\}|\\[!,]")
_DECORATION = re.compile(r"\*\*|\\(?:boxed|text|mathrm)\s*\{")
MAX_DIGITS = 1000
"""The largest number of digits in a number. More digits come from a model that repeats itself, and are ignored."""
_SYMBOLS = str.maketrans({"$": "", "€": "", "£": "", "\u2212": "-", "\u2044": "/"})


def final_number(text: str, *, last: bool = False) -> Fraction | None:
    """The final number of ``text``, or ``None`` if ``text`` has no number.

    The final number is the ``marked_number`` if there is one, and otherwise the last number of the text. Thousands
    separators, currency, units, percent signs, emphasis and a trailing full stop do not count. A fraction counts as
    its value. A fraction with the denominator 0 is no number.

    >>> final_number("So she has 3 bags.\\n#### $1,200.50")
    Fraction(2401, 2)
    >>> final_number("That is 12 - 5 = 7 apples.")
    Fraction(7, 1)
    """
    plain = _plain(text)
    marked = _marked(plain, last)
    if marked is not None:
        return _value(marked)
    numbers = _ANY_NUMBER.findall(plain)
    return _value(numbers[-1]) if numbers else None


def marked_number(text: str, *, last: bool = False) -> Fraction | None:
    """The number after a ``####`` mark, or ``None`` if no mark has a number.

    The number of a mark is the number that follows the mark directly; otherwise the number after the last ``=`` of
    the line; otherwise the first number of the line. Headings such as ``#### Step 1`` do not count. If several marks
    have a number, the first number that follows its mark directly is taken, and otherwise the first number of all.
    With ``last``, the number of the last mark is taken.
    """
    marked = _marked(_plain(text), last)
    return _value(marked) if marked is not None else None


def _marked(plain: str, last: bool) -> str | None:
    """The number of the mark that ``marked_number`` takes, as the text writes it."""
    found = [
        number for gap, line in _MARKED.findall(plain) if (number := _behind_mark(gap, line)) is not None
    ]
    if not found:
        return None
    # Among equally good numbers, max takes the first.
    return (found[-1] if last else max(found, key=lambda number: number[0]))[1]


def _behind_mark(gap: str, line: str) -> tuple[bool, str] | None:
    """Whether a number follows the mark directly, and the number that counts for this mark."""
    at_once = _ANY_NUMBER.match(line)
    if at_once is not None:
        return True, at_once[0]
    if "\n" in gap or _HEADING.match(line):
        return None
    numbers = _EQUALS.findall(line)[-1:] or _ANY_NUMBER.findall(line)
    return (False, numbers[0]) if numbers else None


def _plain(text: str) -> str:
    """``text`` without the characters that may stand around and inside numbers, such as currency and separators."""
    ratios = _LATEX_RATIO.sub(r"\1/\2", text)
    return _DECORATION.sub(" ", _LATEX_SPACING.sub("", ratios)).translate(_SYMBOLS)


def _value(number: str) -> Fraction | None:
    if len(number) > MAX_DIGITS:
        return None
    sign = -1 if number.startswith("-") else 1
    whole, _, ratio = number.lstrip("-").strip().replace(",", "").rpartition(" ")
    try:
        return sign * (Fraction(whole or 0) + Fraction(ratio))
    except ZeroDivisionError:
        return None
