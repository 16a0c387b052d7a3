"""Chain arithmetic: ``3+5*7-2=`` is worked out strictly left to right, modulo 10, one step at a time.

The answer writes each step and then the result: ``3+5=8;8*7=6;6-2=4;#4``. It needs no data, 19 characters
and models of a fraction of a million parameters, yet an early slip spoils all that follows, as in longer
reasoning.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np

from adaswitch.errors import ConfigError
from adaswitch.tasks.base import Example, Marks, exact_match, require_references

OPERATORS = "+-*"
MAX_LONGER = 3
"""By how many operations the prompts of the split ``longer`` exceed the longest of training, at most."""


class ChainTask:
    """Marks the digit after the last ``#``."""

    name = "chain"
    chat_template = False
    metrics: tuple[str, ...] = ("exact_match",)

    def mark(self, completion: str, example: Example) -> Marks:
        """Whether what follows the last ``#`` of ``completion`` is what follows it in the reference."""
        [reference] = require_references(example)
        _, marker, answer = completion.rpartition("#")
        return exact_match(marker == "#" and answer.strip() == reference.rpartition("#")[2])


def answer_length(operations: int) -> int:
    """Characters of an answer, with its end of sequence: in the demo's tokenizers as many tokens."""
    return 6 * operations + len("#4") + 1


def chain_examples(
    num: int,
    seed: int | Sequence[int],
    min_operations: int,
    max_operations: int,
    exclude: Collection[str] = (),
    *,
    split: str = "eval",
    mostly_products: bool = False,
) -> list[Example]:
    """``num`` examples with ``min_operations`` to ``max_operations`` operations, every length as likely.

    With ``mostly_products`` at least half of the operators of each are ``*``. Prompts are distinct, and none
    is in ``exclude``. The same arguments give the same examples; a longer list begins with the shorter one.
    Raises ``ConfigError`` where there are not so many prompts.
    """
    num_possible = _num_prompts(min_operations, max_operations, mostly_products)
    if num + len(exclude) > num_possible:
        raise ConfigError(
            f"task: there are only {num_possible} chain prompts of {min_operations} to {max_operations} "
            f"operations, too few for {num + len(exclude)}: raise max_operations or ask for fewer prompts"
        )
    generator = np.random.default_rng(seed)
    taken = set(exclude)
    examples: list[Example] = []
    while len(examples) < num:
        operations = int(generator.integers(min_operations, max_operations + 1))
        digits = generator.integers(0, 10, size=operations + 1).tolist()
        operators = [OPERATORS[i] for i in generator.integers(0, len(OPERATORS), size=operations)]
        if mostly_products and 2 * operators.count("*") < operations:
            continue
        prompt = str(digits[0]) + "".join(f"{o}{d}" for o, d in zip(operators, digits[1:], strict=True)) + "="
        if prompt not in taken:
            taken.add(prompt)
            examples.append(Example(prompt, _worked_out(digits, operators), len(examples) + 1, split))
    return examples


def _num_prompts(min_operations: int, max_operations: int, mostly_products: bool) -> int:
    """How many different prompts there are."""
    total = 0
    for operations in range(min_operations, max_operations + 1):
        fewest = math.ceil(operations / 2) if mostly_products else 0
        signs = sum(math.comb(operations, n) * 2 ** (operations - n) for n in range(fewest, operations + 1))
        total += 10 ** (operations + 1) * signs
    return total


def _worked_out(digits: Sequence[int], operators: Sequence[str]) -> str:
    """The completion: a ``;``-terminated step for each operator, then ``#`` and the result."""
    result = digits[0]
    steps = ""
    for operator, digit in zip(operators, digits[1:], strict=True):
        value = _apply(operator, result, digit)
        steps += f"{result}{operator}{digit}={value};"
        result = value
    return f"{steps}#{result}"


def _apply(operator: str, left: int, right: int) -> int:
    """``left operator right`` modulo 10, never negative."""
    if operator == "+":
        return (left + right) % 10
    if operator == "-":
        return (left - right) % 10
    return (left * right) % 10
