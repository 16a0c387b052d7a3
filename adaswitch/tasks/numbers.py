"""The final number of a worked answer, as the public evaluations of GSM8K and GSM-Plus read it."""

import re
from fractions import Fraction

# A minus behind a word or a bracket subtracts: it is no sign of the number that follows.
_SIGN = r"(?:(?<![\w)])-)?"
_DECIMAL = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
# 7/2 and 3 1/2, yet no part of a date such as 3/4/2024.
_RATIO = r"(?:(?<![\d/])(?:\d+ )?\d+/\d+(?![\d/]|\.\d))"
_NUMBER = rf"{_SIGN}(?:{_RATIO}|{_DECIMAL})"
_ANY_NUMBER = re.compile(_NUMBER, re.ASCII)
_FINAL_NUMBER = re.compile(rf"####[\s*_`]*({_NUMBER})", re.ASCII)
_LATEX_RATIO = re.compile(r"\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}", re.ASCII)
_LATEX_SPACING = re.compile(r"\{,\}|\\[!,]")
_DECORATION = re.compile(r"\*\*|\\(?:boxed|text|mathrm)\s*\{")
MAX_DIGITS = 1000
"""A longer one is a model that repeats itself, and no number."""
_SYMBOLS = str.maketrans({"$": "", "€": "", "£": "", "\u2212": "-", "\u2044": "/"})


def final_number(text: str) -> Fraction | None:
    """The final number of ``text``; ``None`` if there is none.

    It is the first number that follows a ``####`` at once, else the last number of the text. Thousands
    separators, currency, units, percent signs, emphasis and a trailing full stop do not count; a fraction is
    its value. A fraction over 0 is no number.

    >>> final_number("So she has 3 bags.\\n#### $1,200.50")
    Fraction(2401, 2)
    >>> final_number("That is 12 - 5 = 7 apples.")
    Fraction(7, 1)
    """
    plain = _plain(text)
    final = _FINAL_NUMBER.search(plain)
    if final is not None:
        return _value(final[1])
    numbers = _ANY_NUMBER.findall(plain)
    return _value(numbers[-1]) if numbers else None


def marked_number(text: str) -> Fraction | None:
    """The number behind the first ``####`` that has one; ``None`` if there is none."""
    final = _FINAL_NUMBER.search(_plain(text))
    return _value(final[1]) if final is not None else None


def _plain(text: str) -> str:
    """``text`` without what stands around numbers and inside of them."""
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
