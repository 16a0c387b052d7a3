"""Fits prompts into what the models take: a prompt that is too long is refused, left out, or cut."""

import bisect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from adaswitch.data.datasets import Tokenizer, encode_prompt
from adaswitch.errors import DataError, ModelError
from adaswitch.tasks.base import Example, RecordTask, Task
from adaswitch.tasks.chat import INSTRUCTION_ROLES

Cut = TypeVar("Cut")


@dataclass(frozen=True)
class Limit:
    """The longest sequence, prompt and completion together, that somebody takes."""

    num_tokens: int
    whose: str
    """As messages say it, such as ``the student``."""


@dataclass(frozen=True)
class FittedPrompts:
    """The examples that are used, with their prompts in tokens, all of which fit."""

    examples: list[Example]
    prompts: list[tuple[int, ...]]
    num_skipped: int
    """The number of records that were left out."""
    num_cut: int
    """The number of records whose prompts were cut."""

    def note(self, what: str) -> list[str]:
        """A line about what was left out or cut of ``what``, such as ``training prompts``; none if nothing was."""
        total = len(self.examples) + self.num_skipped
        parts = [
            f"{count:,} {how}"
            for count, how in ((self.num_skipped, "left out"), (self.num_cut, "cut"))
            if count
        ]
        return [f"{what}: {' and '.join(parts)} of {total:,}, as too long"] if parts else []


def fit_prompts(
    tokenizer: Tokenizer,
    task: Task,
    examples: Sequence[Example],
    limits: Sequence[Limit],
    max_new_tokens: int,
    budget: str = "student.max_new_tokens",
) -> FittedPrompts:
    """The prompts of ``examples`` in tokens, each of which leaves room for ``max_new_tokens`` within all ``limits``.

    ``budget`` is the setting that gave ``max_new_tokens``, for messages. The task says what happens to the others.
    Raises ``ModelError`` for the first that is too long if they are refused, and for one that cannot be cut enough;
    ``DataError`` if none is left.
    """
    how = task.too_long if isinstance(task, RecordTask) else "refuse"
    kept: list[Example] = []
    prompts: list[tuple[int, ...]] = []
    num_cut = 0
    room, why = _room(task, limits, max_new_tokens, budget)
    for example in examples:
        used, prompt = example, tuple(encode_prompt(tokenizer, task, example))
        if len(prompt) > room:
            if how == "skip":
                continue
            if how == "refuse":
                raise ModelError(f"{example.place}: the prompt has {len(prompt)} tokens; {why}{_fix(task)}")
            used = cut_to_fit(tokenizer, task, example, room)
            prompt = tuple(encode_prompt(tokenizer, task, used))
            num_cut += 1
        kept.append(used)
        prompts.append(prompt)
    if examples and not kept:
        first = examples[0]
        raise DataError(
            f"all {len(examples)} prompts are left out as too long: each has more than {max(room, 0)} tokens; {why}"
            ": lower the budget",
            source=first.source or first.place,
        )
    return FittedPrompts(kept, prompts, len(examples) - len(kept), num_cut)


def _room(task: Task, limits: Sequence[Limit], max_new_tokens: int, budget: str) -> tuple[int, str]:
    """The largest number of tokens in a prompt, and the reason for it."""
    tightest = min(limits, key=lambda limit: limit.num_tokens)
    room = tightest.num_tokens - max_new_tokens
    own = task.max_prompt_tokens if isinstance(task, RecordTask) else None
    if own is not None and own < room:
        return own, f"that is more than task.max_prompt_tokens {own}"
    return room, (
        f"with {budget} {max_new_tokens} that is more than the {tightest.num_tokens} that {tightest.whose} takes"
    )


def _fix(task: Task) -> str:
    if isinstance(task, RecordTask):
        return ": lower the budget, leave the record out, or set task.too_long to skip or truncate"
    return ": lower the budget, or leave the record out"


def cut_to_fit(tokenizer: Tokenizer, task: Task, example: Example, room: int) -> Example:
    """``example`` with a prompt of at most ``room`` tokens. As little as possible is cut.

    First the oldest turns of a conversation go, then the beginning of the last message, word by word. What the task
    puts around the record's own text stays. Raises ``ModelError`` if even a single character is too long.
    """

    def fits(cut: Example) -> bool:
        """Whether the prompt of ``cut`` has at most ``room`` tokens."""
        return len(encode_prompt(tokenizer, task, cut)) <= room

    shorter = _first(_without_oldest_turns(example), fits)
    if shorter is not None:
        return shorter
    barest = _without_oldest_turns(example)[-1]
    head, tail = example.frame
    text = example.prompt.removeprefix(head).removesuffix(tail)
    words = [match.start() for match in re.finditer(r"(?<!\S)\S", text)]
    last_word = range(words[-1], len(text)) if words else ()
    for starts in (words, last_word):
        start = _first(starts, lambda start: fits(_with_text(barest, head + text[start:] + tail)))
        if start is not None:
            return _with_text(barest, head + text[start:] + tail)
    raise ModelError(
        f"{example.place}: the prompt cannot be cut to the {max(room, 0)} tokens that are left for it, as what stands "
        "around its text is longer: lower student.max_new_tokens, or shorten task.system_prompt"
    )


def _first(candidates: Sequence[Cut], fits: Callable[[Cut], bool]) -> Cut | None:
    """The first of ``candidates``, which get ever shorter, that fits; None if none does."""
    place = bisect.bisect_left(range(len(candidates)), True, key=lambda i: fits(candidates[i]))
    return candidates[place] if place < len(candidates) else None


def _without_oldest_turns(example: Example) -> list[Example]:
    """``example``, and then ever shorter: without its first turns, up to each later turn of the user."""
    turns = example.messages
    opening = turns[:1] if turns and turns[0]["role"] in INSTRUCTION_ROLES else ()
    starts = [place for place, turn in enumerate(turns) if turn["role"] == "user" and place > len(opening)]
    return [example, *(replace(example, messages=(*opening, *turns[start:])) for start in starts)]


def _with_text(example: Example, text: str) -> Example:
    """``example`` with ``text`` as its prompt, and as its last message if it is a conversation."""
    messages = example.messages
    if messages:
        messages = (*messages[:-1], {**messages[-1], "content": text})
    return replace(example, prompt=text, messages=messages)
