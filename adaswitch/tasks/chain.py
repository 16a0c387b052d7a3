"""Chain arithmetic: ``3+5*7-2=`` is worked out strictly left to right, modulo 10, one step at a time.

The answer writes each step and then the result: ``3+5=8;8*7=6;6-2=4;#4``. It needs no data, 19 characters
and models of a fraction of a million parameters, yet an early slip spoils all that follows, as in longer
reasoning.
"""

from collections.abc import Collection, Sequence

import numpy as np

from adaswitch.errors import ConfigError
from adaswitch.tasks.base import Example

OPERATORS = "+-*"


class ChainTask:
    """Marks the digit after the last ``#``."""

    name = "chain"
    chat_template = False

    def mark(self, completion: str, example: Example) -> bool:
        """Whether what follows the last ``#`` of ``completion`` is what follows it in the reference."""
        _, marker, answer = completion.rpartition("#")
        return marker == "#" and answer.strip() == example.reference.rpartition("#")[2]


def chain_examples(
    num: int,
    seed: int | Sequence[int],
    min_operations: int,
    max_operations: int,
    exclude: Collection[str] = (),
) -> list[Example]:
    """``num`` examples with ``min_operations`` to ``max_operations`` operations, every length as likely.

    Prompts are distinct, and none is in ``exclude``. The same arguments give the same examples; a longer
    list begins with the shorter one. Raises ``ConfigError`` where there are not so many prompts.
    """
    num_possible = sum(10 * 30**operations for operations in range(min_operations, max_operations + 1))
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
        prompt = str(digits[0]) + "".join(f"{o}{d}" for o, d in zip(operators, digits[1:], strict=True)) + "="
        if prompt not in taken:
            taken.add(prompt)
            examples.append(Example(prompt, _worked_out(digits, operators), number=len(examples) + 1))
    return examples


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
