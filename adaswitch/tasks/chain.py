"""Chain arithmetic: ``3+5*7-2=`` is worked out strictly left to right, modulo 10, one step at a time.

The answer writes each step and then the result: ``3+5=8;8*7=6;6-2=4;#4``. The task needs no data, and only 19
characters and models with a fraction of a million parameters. Yet an early slip makes all later steps wrong, as in
longer reasoning.
"""

import math
from collections.abc import Collection, Sequence
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from adaswitch.errors import ConfigError
from adaswitch.tasks.base import Example, GeneratedTask, Marks, Split, exact_match, require_references

OPERATORS = "+-*"
MAX_LONGER = 3
"""The largest number of operations by which prompts of the split ``longer`` exceed the longest training prompt."""


class ChainTask(GeneratedTask):
    """Chain arithmetic, generated: ``3+5*7-2=`` is worked out left to right, modulo 10."""

    kind: Literal["chain"] = "chain"
    num_train: int = Field(default=2000, ge=1)
    """The number of training prompts, all of which are different."""
    num_eval: int = Field(default=500, ge=1)
    """The number of held-out prompts. No held-out prompt is a training prompt."""
    min_operations: int = Field(default=4, ge=1)
    """The smallest number of operations in a prompt."""
    max_operations: int = Field(default=7, ge=1)
    """The largest number of operations in a prompt."""
    seed: int = Field(default=0, ge=0)
    """The seed that fixes which prompts are drawn."""
    extra_splits: list[Literal["longer", "multiply"]] = Field(default_factory=list)
    """Splits of harder held-out prompts, with ``num_eval`` prompts each. The prompts of ``longer`` have 1 to 3
    operations more than ``max_operations``. In the prompts of ``multiply`` at least half of the operators are ``*``."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_operations > self.max_operations:
            raise ValueError("min_operations must not exceed max_operations")
        return self

    @property
    def default_new_tokens(self) -> int:
        """See ``Task``: the length of the longest answer."""
        return answer_length(self.max_operations + (MAX_LONGER if "longer" in self.extra_splits else 0))

    def check(self, max_new_tokens: int | None = None) -> None:
        """Raises ``ConfigError`` if answers of the split ``longer`` would be cut off."""
        if max_new_tokens is None or "longer" not in self.extra_splits:
            return
        longest = self.max_operations + MAX_LONGER
        if answer_length(longest) > max_new_tokens:
            raise ConfigError(
                f"task.extra_splits: an answer of {longest} operations takes {answer_length(longest)} tokens, more "
                f"than student.max_new_tokens {max_new_tokens}: raise it, or leave out longer"
            )

    def examples(self, split: Split) -> list[Example]:
        """The training prompts, or the held-out prompts followed by the extra splits.

        The held-out prompts are drawn first, and training prompts are never held-out prompts. So the held-out prompts
        depend neither on the training prompts nor on their number.
        """
        bounds = (self.min_operations, self.max_operations)
        held_out = chain_examples(self.num_eval, (self.seed, 0), *bounds)
        if "multiply" in self.extra_splits:
            held_out += chain_examples(
                self.num_eval,
                (self.seed, 4),
                *bounds,
                exclude={example.prompt for example in held_out},
                split="multiply",
                mostly_products=True,
            )
        if split == "train":
            prompts = {example.prompt for example in held_out}
            return chain_examples(self.num_train, (self.seed, 1), *bounds, exclude=prompts, split="train")
        if "longer" in self.extra_splits:
            longest = self.max_operations
            held_out += chain_examples(
                self.num_eval, (self.seed, 3), longest + 1, longest + MAX_LONGER, split="longer"
            )
        return held_out

    def mark(self, completion: str, example: Example) -> Marks:
        """Whether the text after the last ``#`` is the same in ``completion`` and in the reference."""
        [reference] = require_references(example)
        _, marker, answer = completion.rpartition("#")
        return exact_match(marker == "#" and answer.strip() == reference.rpartition("#")[2])


def answer_length(operations: int) -> int:
    """The characters of an answer, plus one for its end of sequence: as many tokens in the demo's tokenizers."""
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
    """``num`` examples with ``min_operations`` to ``max_operations`` operations, where every length is equally likely.

    With ``mostly_products`` at least half of the operators of each prompt are ``*``. Prompts are distinct, and none
    is in ``exclude``. The same arguments give the same examples, and a larger ``num`` only adds examples at the end.
    Raises ``ConfigError`` if there are fewer than ``num`` such prompts.
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
    """The number of different prompts that exist."""
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
