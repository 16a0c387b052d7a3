"""The words of the task ``story``: in how many ways an answer may say the same, and how likely each way is.

An answer is told in one of three manners, which is drawn once and never named. Each manner prefers other wordings. So a
teacher is often unsure which wording comes next, and never unsure of a number.
"""

from collections.abc import Sequence

import numpy as np

BOYS = ("Tom", "Ben", "Max", "Leo", "Sam")
GIRLS = ("Ann", "Mia", "Eva", "Zoe", "Lily")
ITEMS = ("apples", "marbles", "coins", "books", "cards", "shells", "stones", "pens", "cakes", "plums")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
GAINS = ("finds", "buys", "gets", "wins", "collects")
LOSSES = ("loses", "drops", "sells", "eats", "breaks")
LARGEST = 20
"""No number in a story is larger."""
QUESTION = "how many now ?"
DOUBLING = "a friend doubles the pile"
MARKER = "####"
"""What stands before the result at the end of an answer."""

WORDINGS: dict[str, tuple[str, ...]] = {
    "opening": (
        "{name} has {before} {items} at first .",
        "at the start there are {before} {items} .",
        "{name} starts with {before} {items} .",
        "we begin with {before} {items} .",
        "first , {who} has {before} {items} .",
        "to begin , {name} owns {before} {items} .",
    ),
    "day": (
        "on {day}",
        "on {day} ,",
        "then on {day}",
        "{day} :",
        "next , {day} :",
        "later , on {day} ,",
        "now {day} :",
    ),
    "gain": (
        "{who} finds {number} more",
        "{who} buys {number} more",
        "{who} gets {number}",
        "{number} more come in",
        "{who} is given {number} {items}",
        "{who} adds {number}",
        "we add {number} {items}",
        "{name} takes {number} more",
    ),
    "loss": (
        "{who} loses {number}",
        "{who} sells {number} of them",
        "{number} of the {items} go away",
        "{who} gives {number} away",
        "{who} uses {number} {items}",
        "we take {number} away",
        "{name} drops {number}",
        "{number} are gone",
    ),
    "doubling": (
        "the number doubles",
        "{who} doubles the {items}",
        "the pile is doubled",
        "{who} gets as many again",
        "we double it",
    ),
    "so": (", so", "; this means", ", which gives", ", and", ": thus", "; so we get"),
    "sum": (
        "{before} + {number} = {after}",
        "{before} plus {number} is {after}",
        "{before} and {number} make {after}",
    ),
    "difference": (
        "{before} - {number} = {after}",
        "{before} minus {number} is {after}",
        "{before} less {number} leaves {after}",
    ),
    "double": (
        "{before} + {before} = {after}",
        "twice {before} is {after}",
        "{before} plus {before} is {after}",
    ),
    "tail": (".", "{items} .", "in all .", "{items} now .", "{items} for {name} .", "at this point ."),
    "because": ("because", "since", "as"),
    "end": (
        "so the answer is {after} .",
        "in the end {name} has {after} {items} .",
        "that leaves {after} {items} .",
        "{who} now has {after} .",
        "in total : {after} {items} .",
        "hence {name} ends with {after} {items} .",
    ),
    "order": ("what happens first", "the sum first"),
}
"""The wordings of each part of an answer, as words and marks that spaces separate, with facts to be filled in."""
ASKED = ("{who} {verb} {number}", {"gain": GAINS, "loss": LOSSES})
"""How a prompt usually tells a step that is no doubling, and with which verbs."""
UNUSUAL = {
    kind: tuple(
        wording
        for wording in WORDINGS[kind]
        if wording not in {ASKED[0].replace("{verb}", verb) for verb in ASKED[1].get(kind, ())}
    )
    for kind in ("gain", "loss", "doubling")
}
"""The wordings of a step that no prompt has usually, by kind."""
NUM_MANNERS = 3
_LEAST_WEIGHT = 0.12


def _weights() -> dict[str, list[list[float]]]:
    generator = np.random.default_rng(7)
    return {
        part: [
            ((draws := generator.gamma(0.7, 1.0, len(wordings)) + _LEAST_WEIGHT) / draws.sum()).tolist()
            for _ in range(NUM_MANNERS)
        ]
        for part, wordings in WORDINGS.items()
    }


WEIGHTS = _weights()
"""The probability of each wording of a part, by part and manner. They belong to the language and not to a seed."""


def choose(generator: np.random.Generator, part: str, manner: int) -> str:
    """One of the wordings of ``part``, as this ``manner`` prefers them."""
    return str(WORDINGS[part][generator.choice(len(WORDINGS[part]), p=WEIGHTS[part][manner])])


def longest(part: str) -> int:
    """The number of words in the longest wording of ``part``."""
    return max(len(wording.split()) for wording in WORDINGS[part])


def words() -> Sequence[str]:
    """Every word that a prompt or an answer may have, sorted, and then the numbers: what a word tokenizer must know."""
    texts = [wording for part, wordings in WORDINGS.items() if part != "order" for wording in wordings]
    texts += [*BOYS, *GIRLS, *ITEMS, *DAYS, *GAINS, *LOSSES, QUESTION, DOUBLING, MARKER, "he she has on ."]
    found = {word for text in texts for word in text.split() if not word.startswith("{")}
    return [*sorted(found), *map(str, range(LARGEST + 1))]
