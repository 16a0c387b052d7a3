"""Numbers as models and people write them: currency, separators, fractions, LaTeX, times, units with exponents."""

import re
import unicodedata
from fractions import Fraction

MAX_DIGITS = 1000
"""The largest number of digits in a number. More digits come from a model that repeats itself, and are ignored."""

# A minus after a word or a bracket means subtraction, so it is not the sign of the number that follows.
_SIGN = r"(?:(?:(?<![\w)])-)|negative )?"
_GROUPED = r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d{1,3}(?: \d{3})+(?![\d,.]*\d|-|/)"
_DECIMAL = rf"(?:(?:{_GROUPED}|\d+)(?:\.\d+)?|(?<![A-Za-z])\.\d+)(?:e[-+]?\d{{1,2}}(?![\w.]))?"
# Matches 7/2 and 3 1/2, but no part of a date such as 3/4/2024.
_RATIO = r"(?:(?<![\d/])(?:\d+ )?\d+/\d+(?![\d/]|\.\d))"
_TIME = r"(?:(?<![\d:])\d{1,2}:[0-5]\d(?!\d|\.\d))"
# The exponent of a unit is no number: m2, km^2, cm^{3}.
_UNIT_EXPONENT = r"(?:(?<=(?<![a-z])m\d)|(?<=(?<![a-z])[cdkm]m\d)|(?<=(?<![a-z])(?:ft|in|yd|mi)\d)|(?<=/s\d))"
_NO_EXPONENT = rf"(?<!\^)(?<!\^\{{)(?<!\^\()(?<!\d[eE])(?<!\d[eE][-+])(?![23]{_UNIT_EXPONENT}(?!\d))"
NUMBER = rf"{_NO_EXPONENT}{_SIGN}(?:{_RATIO}|{_TIME}|{_DECIMAL})"
"""The pattern of a number in unified text. It has no groups."""
ANY_NUMBER = re.compile(NUMBER, re.ASCII | re.IGNORECASE)

_LATEX_RATIO = re.compile(
    r"(\d?) ?(-?) ?\\[dt]?frac\s*(?:\{\s*(-?\d[\d,]*(?:\.\d+)?)\s*\}\s*\{\s*(\d[\d,]*(?:\.\d+)?)\s*\}|(\d)\s*(\d))",
    re.ASCII,
)
_POWER_OF_TEN = re.compile(
    r"(?<=\d)\s*(?:\u00d7|x|\*|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?\s*([-+]?\d{1,2})(?!\d)\s*\}?",
    re.ASCII,
)
# 2^3, 10^{3}, 2**3.
_POWER = re.compile(
    r"(?<![\w.,^*)}])(\d{1,4})\s*(?:\^|\*\*)\s*(?:\{(\d{1,2})\}|(\d{1,2})(?!\d|\.\d))", re.ASCII
)
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b"
_RAISED = re.compile(rf"(?<=\b10)[{_SUPERSCRIPTS}]+")
_LOWERED = str.maketrans(_SUPERSCRIPTS, "0123456789-")
# A minus apart from its number: "is - 5", "= minus 5", "{- 5}".
_MINUS_APART = re.compile(r"((?:[{(=:]|\b(?:is|be|equals))[ \t]*)(?:-|minus)[ \t]+(?=[\d$])", re.IGNORECASE)
_MIXED = re.compile(r"(?<![\d.])(\d+) and (?=[1-9]/(?:[2-9]|1[0-6])(?!\d|\.\d))", re.ASCII)
_LATEX_SPACING = re.compile(r"\{,\}|\\[!,]|(?<=\d)~(?=\d{3})")
# US$18, R$ 18.
_DOLLARS = re.compile(r"\\?(?:\b[A-Z]{1,3})?\$(?=\s?[\d.-])|\\?\$")
# The digits of a name are no number: CO2, H2O, A4, MP3.
_NAME = re.compile(
    r"(?<![\\\w])(?!(?:USD|EUR|GBP|CAD|AUD|NZD|SGD|HKD|INR|JPY|CNY|RMB|RS|RM|R)\d)[A-Z]{1,3}\d{1,2}(?![\d.,]*\d)\w*",
    re.ASCII,
)
_DECORATION = re.compile(r"\*\*|\\(?:boxed|fbox|framebox|text|textbf|mathrm|mathbf|bf)\s*\{")
_VULGAR = {
    "\u00bd": "1/2", "\u00bc": "1/4", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3", "\u2155": "1/5",
    "\u2156": "2/5", "\u2157": "3/5", "\u2158": "4/5", "\u2159": "1/6", "\u215a": "5/6", "\u215b": "1/8",
    "\u215c": "3/8", "\u215d": "5/8", "\u215e": "7/8",
}  # fmt: skip
_SYMBOLS = str.maketrans(
    {sign: f" {ratio}" for sign, ratio in _VULGAR.items()}
    # The decimal digits of all scripts: Arabic, Devanagari, full-width as among Chinese letters.
    | {
        chr(code): str(unicodedata.decimal(chr(code)))
        for code in range(0x660, 0x1FBFA)
        if chr(code).isdecimal()
    }
    | {"\u066b": ".", "\u066c": ","}
    # Full-width signs.
    | {
        "\uff0c": ",",
        "\uff0e": ".",
        "\uff1a": ":",
        "\uff1d": "=",
        "\uff0d": "-",
        "\uff05": "%",
        "\uff0b": "+",
    }
    # Spaces that do not break, as between thousands.
    | {"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2007": " "}
    | {
        "€": "",
        "£": "",
        "¥": "",
        "₹": "",
        "\u2212": "-",
        "\u2013": "-",
        "\u2010": "-",
        "\u2011": "-",
        "\u2044": "/",
    }
)


def unified(text: str) -> str:
    """``text`` with one way to write each sign, and without the currency and the separators inside numbers."""
    plain = text.translate(_SYMBOLS)
    plain = _RAISED.sub(lambda match: f"^{match[0].translate(_LOWERED)}", plain)
    plain = _LATEX_RATIO.sub(_ratio, _LATEX_SPACING.sub("", plain))
    plain = _MINUS_APART.sub(r"\1-", _MIXED.sub(r"\1 ", _DOLLARS.sub("", plain)))
    return _POWER.sub(_power, _POWER_OF_TEN.sub(r"e\1", plain))


def _power(match: re.Match[str]) -> str:
    return str(int(match[1]) ** int(match[2] or match[3]))


def _ratio(match: re.Match[str]) -> str:
    """A LaTeX fraction as ``1/2``; behind a whole number as ``3 1/2``."""
    whole, minus, *parts = match.groups()
    over, under = (part.replace(",", "") for part in parts if part is not None)
    ratio = f"{over}/{under}"
    if "." in ratio and Fraction(under):
        value = Fraction(over) / Fraction(under)
        ratio = f"{value.numerator}/{value.denominator}"
    return f"{whole}{' ' if whole and not minus else ''}{minus}{ratio}"


def undecorated(text: str) -> str:
    """``text`` without emphasis, without names with digits, and without what LaTeX puts around numbers and words."""
    return _NAME.sub("", _DECORATION.sub(" ", text))


def value_of(number: str) -> Fraction | None:
    """The value of a text that ``NUMBER`` matches, or None if it has none. A time is a number of hours."""
    if len(number) > MAX_DIGITS:
        return None
    sign = -1 if number.startswith("-") or number.lower().startswith("negative") else 1
    plain = number.lower().removeprefix("negative").strip().lstrip("-").replace(",", "")
    hours, colon, minutes = plain.partition(":")
    if colon:
        return sign * (Fraction(hours) + Fraction(int(minutes), 60))
    if "/" not in plain:
        return sign * Fraction(plain.replace(" ", ""))
    whole, _, ratio = plain.rpartition(" ")
    try:
        return sign * (Fraction(whole or 0) + Fraction(ratio))
    except ZeroDivisionError:
        return None
