"""Word problems with free wording: a few things are gained and lost from day to day, and the answer tells each step.

    Tom has 5 apples . on monday he finds 3 . on friday he eats 2 . how many now ?

    Tom starts with 5 apples . on monday , he gets 3 , so 5 + 3 = 8 in all . then on friday 8 minus 2 is 6 because he
    loses 2 . that leaves 6 apples . #### 6

An answer may be told in many ways, so a teacher is often unsure of the next word. Its numbers leave no choice, and a
wrong one makes all that follow wrong. Words and marks are separated by spaces, so that a word is a token; the words are
those of ``adaswitch.tasks.story_wording.words``.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from adaswitch.errors import ConfigError
from adaswitch.tasks.base import Example, GeneratedTask, Marks, Split, exact_match, require_references
from adaswitch.tasks.story_wording import (
    ASKED,
    BOYS,
    DAYS,
    DOUBLING,
    GIRLS,
    ITEMS,
    LARGEST,
    MARKER,
    NUM_MANNERS,
    QUESTION,
    UNUSUAL,
    WORDINGS,
    choose,
    longest,
)

MAX_LONGER = 2
"""The largest number of steps by which stories of the split ``longer`` exceed the longest training story."""
KINDS = ("gain", "loss", "doubling")
KIND_WEIGHTS = (5 / 11, 5 / 11, 1 / 11)
EQUATIONS = {"gain": "sum", "loss": "difference", "doubling": "double"}


class StoryTask(GeneratedTask):
    """Word problems with free wording, generated: things are gained and lost from day to day."""

    kind: Literal["story"] = "story"
    num_train: int = Field(default=2000, ge=1, le=100_000)
    """The number of training prompts, all of which are different."""
    num_eval: int = Field(default=500, ge=1, le=100_000)
    """The number of held-out prompts. No held-out prompt is a training prompt."""
    min_steps: int = Field(default=3, ge=1)
    """The smallest number of steps in a story."""
    max_steps: int = Field(default=4, ge=1)
    """The largest number of steps in a story. Each has a day of the week of its own, so there are at most 7."""
    seed: int = Field(default=0, ge=0)
    """The seed that fixes which stories are drawn, and how their answers are told."""
    extra_splits: list[Literal["longer", "unseen_wordings"]] = Field(default_factory=list)
    """Splits of harder held-out prompts, with ``num_eval`` prompts each. The stories of ``longer`` have 1 or 2 steps
    more than ``max_steps``. The prompts of ``unseen_wordings`` tell their steps as usually only answers do, in words
    that are all known."""

    @model_validator(mode="after")
    def _within_a_week(self) -> Self:
        if self.min_steps > self.max_steps:
            raise ValueError("min_steps must not exceed max_steps")
        if self.max_steps > len(DAYS):
            raise ValueError(
                f"max_steps {self.max_steps} is more than the {len(DAYS)} days of a week, and each step has its own: "
                "lower it"
            )
        if "longer" in self.extra_splits and self.max_steps + MAX_LONGER > len(DAYS):
            raise ValueError(
                f"extra_splits: stories of longer have up to {self.max_steps + MAX_LONGER} steps, more than the "
                f"{len(DAYS)} days of a week: lower max_steps to {len(DAYS) - MAX_LONGER}, or leave out longer"
            )
        return self

    @property
    def default_new_tokens(self) -> int:
        """See ``Task``: the length of the longest answer."""
        return answer_length(self.max_steps + (MAX_LONGER if "longer" in self.extra_splits else 0))

    def check(self, max_new_tokens: int | None = None) -> None:
        """Raises ``ConfigError`` if answers of the split ``longer`` might be cut off."""
        if max_new_tokens is None or "longer" not in self.extra_splits:
            return
        if self.default_new_tokens > max_new_tokens:
            raise ConfigError(
                f"task.extra_splits: an answer of {self.max_steps + MAX_LONGER} steps takes up to "
                f"{self.default_new_tokens} tokens, more than student.max_new_tokens {max_new_tokens}: raise it, or "
                "leave out longer"
            )

    def examples(self, split: Split) -> list[Example]:
        """The training prompts, or the held-out prompts followed by the extra splits.

        The held-out prompts are drawn first, and training prompts are never held-out prompts. So the held-out prompts
        depend neither on the training prompts nor on their number.
        """
        bounds = (self.min_steps, self.max_steps)
        held_out = story_examples(self.num_eval, (self.seed, 0), *bounds)
        if split == "train":
            prompts = {example.prompt for example in held_out}
            return story_examples(self.num_train, (self.seed, 1), *bounds, exclude=prompts, split="train")
        if "longer" in self.extra_splits:
            more = (self.max_steps + 1, self.max_steps + MAX_LONGER)
            held_out += story_examples(self.num_eval, (self.seed, 2), *more, split="longer")
        if "unseen_wordings" in self.extra_splits:
            held_out += story_examples(
                self.num_eval, (self.seed, 3), *bounds, split="unseen_wordings", as_answers_tell=True
            )
        return held_out

    def mark(self, completion: str, example: Example) -> Marks:
        """Whether the number after the last ``####`` is the same in ``completion`` and in the reference."""
        [reference] = require_references(example)
        return exact_match(_result(completion) == _result(reference) is not None)

    def compared(self, completion: str, example: Example) -> str | None:
        """See ``Task``."""
        return f"{_result(completion)!r} with {_result(example.reference)!r}"


def _result(text: str) -> str | None:
    """The number after the last marker; None without either."""
    _, marker, answer = text.rpartition(MARKER)
    found = answer.split()
    return found[0] if marker and len(found) == 1 and found[0].isdecimal() else None


def answer_length(steps: int) -> int:
    """The words of the longest answer, plus one for its end of sequence: as many tokens in a word tokenizer."""
    happening = max(longest(kind) for kind in KINDS)
    equation = max(longest(part) for part in EQUATIONS.values())
    first = longest("so") + longest("tail")
    then = longest("because") + 1
    step = longest("day") + happening + equation + max(first, then)
    return longest("opening") + steps * step + longest("end") + 2 + 1


@dataclass(frozen=True)
class _Step:
    """What happens on a day: ``before`` things become ``after`` by ``number``."""

    day: str
    kind: str
    before: int
    number: int
    after: int


def story_examples(
    num: int,
    seed: int | Sequence[int],
    min_steps: int,
    max_steps: int,
    exclude: Collection[str] = (),
    *,
    split: str = "eval",
    as_answers_tell: bool = False,
) -> list[Example]:
    """``num`` examples with ``min_steps`` to ``max_steps`` steps, where every number of steps is equally likely.

    With ``as_answers_tell`` the prompts tell their steps in the wordings of answers. Prompts are distinct, and none is
    in ``exclude``. The same arguments give the same examples, and a larger ``num`` only adds examples at the end.
    """
    generator = np.random.default_rng(seed)
    taken = set(exclude)
    examples: list[Example] = []
    while len(examples) < num:
        prompt, reference = _story(generator, min_steps, max_steps, as_answers_tell=as_answers_tell)
        if prompt not in taken:
            taken.add(prompt)
            examples.append(Example(prompt, reference, len(examples) + 1, split))
    return examples


def _story(
    generator: np.random.Generator, min_steps: int, max_steps: int, *, as_answers_tell: bool
) -> tuple[str, str]:
    """A prompt, and its answer in one manner."""
    name = _one_of(generator, BOYS + GIRLS)
    about = {"name": name, "who": "she" if name in GIRLS else "he", "items": _one_of(generator, ITEMS)}
    start = int(generator.integers(2, 13))
    steps = _steps(generator, start, int(generator.integers(min_steps, max_steps + 1)))
    told = " ".join(_asked(generator, step, about, as_answers_tell=as_answers_tell) for step in steps)
    prompt = f"{name} has {start} {about['items']} . {told} {QUESTION}"
    manner = int(generator.integers(NUM_MANNERS))
    opening = choose(generator, "opening", manner).format(before=start, **about)
    answered = " ".join(_answered(generator, step, about, manner) for step in steps)
    result = steps[len(steps) - 1].after
    end = choose(generator, "end", manner).format(after=result, **about)
    return prompt, f"{opening} {answered} {end} {MARKER} {result}"


def _steps(generator: np.random.Generator, start: int, num: int) -> list[_Step]:
    """``num`` steps on different days, in the order of the week."""
    steps: list[_Step] = []
    before = start
    for day in sorted(generator.choice(len(DAYS), num, replace=False).tolist()):
        steps.append(_step(generator, DAYS[day], before))
        before = steps[len(steps) - 1].after
    return steps


def _step(generator: np.random.Generator, day: str, before: int) -> _Step:
    """A step whose result lies from 0 to ``LARGEST``. Nothing is never doubled."""
    while True:
        kind = str(generator.choice(KINDS, p=KIND_WEIGHTS))
        number = int(generator.integers(1, 10))
        after = {"gain": before + number, "loss": before - number, "doubling": 2 * before}[kind]
        if 0 <= after <= LARGEST and not (kind == "doubling" and before == 0):
            return _Step(day, kind, before, number, after)


def _asked(
    generator: np.random.Generator, step: _Step, about: dict[str, str], *, as_answers_tell: bool
) -> str:
    """The step as a prompt tells it."""
    usual, verbs = ASKED
    if as_answers_tell:
        told = _one_of(generator, UNUSUAL[step.kind]).format(number=step.number, **about)
    elif step.kind == "doubling":
        told = DOUBLING
    else:
        told = usual.format(verb=_one_of(generator, verbs[step.kind]), number=step.number, **about)
    return f"on {step.day} {told} ."


def _answered(generator: np.random.Generator, step: _Step, about: dict[str, str], manner: int) -> str:
    """The step as an answer tells it: what happens and the sum, in either order."""
    facts = {**about, "day": step.day, "before": step.before, "number": step.number, "after": step.after}

    def told(part: str) -> str:
        """A wording of ``part``, with the step's facts in it."""
        return choose(generator, part, manner).format(**facts)

    day, happens, equation = told("day"), told(step.kind), told(EQUATIONS[step.kind])
    if choose(generator, "order", manner) == WORDINGS["order"][0]:
        return f"{day} {happens} {told('so')} {equation} {told('tail')}"
    return f"{day} {equation} {told('because')} {happens} ."


def _one_of(generator: np.random.Generator, texts: Sequence[str]) -> str:
    return texts[int(generator.integers(len(texts)))]
