"""Word problems: right by Python's own arithmetic, told with known words, never twice, one day for each step."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.config.parsing import parse_config
from adaswitch.errors import ConfigError
from adaswitch.tasks.base import Example
from adaswitch.tasks.story import StoryTask, answer_length, story_examples
from adaswitch.tasks.story_wording import (
    DAYS,
    GAINS,
    LARGEST,
    LOSSES,
    NUM_MANNERS,
    WEIGHTS,
    WORDINGS,
    words,
)

STEP = re.compile(r"on (\w+) (.*?) \.")
NUMBER = re.compile(r"\d+")


def worked_out(prompt: str) -> list[int]:
    """The number of things at first and after each step, read from the prompt alone."""
    start, *steps = prompt.removesuffix(" how many now ?").split(" . ")
    numbers = [int(NUMBER.search(start)[0])]
    for step in steps:
        last = numbers[len(numbers) - 1]
        if "doubles" in step:
            numbers.append(2 * last)
            continue
        amount = int(NUMBER.search(step)[0])
        numbers.append(last + amount if any(f" {verb} " in step for verb in GAINS) else last - amount)
    return numbers


@given(st.integers(0, 10**6), st.sampled_from([(1, 1), (3, 4), (5, 7)]))
def test_every_answer_is_right_in_every_step(seed: int, steps: tuple[int, int]) -> None:
    for example in story_examples(5, seed, *steps):
        numbers = worked_out(example.prompt)
        assert steps[0] <= len(numbers) - 1 <= steps[1]
        assert all(0 <= number <= LARGEST for number in numbers)
        assert example.reference.endswith(f" #### {numbers[len(numbers) - 1]}")
        told = [int(number) for number in NUMBER.findall(example.reference)]
        assert set(numbers) <= set(told)
        assert StoryTask().mark(example.reference, example) == {"exact_match": 1.0}


@given(st.integers(0, 10**6), st.booleans())
def test_every_word_is_known_and_no_answer_is_longer_than_it_says(seed: int, as_answers_tell: bool) -> None:
    for example in story_examples(5, seed, 1, 7, as_answers_tell=as_answers_tell):
        assert set(f"{example.prompt} {example.reference}".split()) <= set(words())
        days = [day for day in DAYS if f" {day} " in example.prompt]
        assert days == [word for word in example.prompt.split() if word in DAYS], "in the order of the week"
        assert len(example.reference.split()) + 1 <= answer_length(len(days))


def test_the_longest_answer_is_nearly_reached() -> None:
    longest = max(len(example.reference.split()) + 1 for example in story_examples(2000, 0, 1, 1))
    assert answer_length(1) - 4 <= longest <= answer_length(1)


def test_words_and_wordings() -> None:
    assert len(words()) == len(set(words()))
    assert not [word for word in words() if "{" in word or " " in word]
    for part, wordings in WORDINGS.items():
        assert len(WEIGHTS[part]) == NUM_MANNERS
        for weights in WEIGHTS[part]:
            assert sum(weights) == pytest.approx(1)
            assert len(weights) == len(wordings)
            assert min(weights) > 0


def test_the_same_seed_gives_the_same_stories_and_another_seed_others() -> None:
    assert story_examples(50, 3, 3, 4)[:20] == story_examples(20, 3, 3, 4)
    assert story_examples(20, 3, 3, 4) != story_examples(20, 4, 3, 4)


def test_no_prompt_comes_twice_and_none_is_held_out_and_trained_on() -> None:
    task = StoryTask(num_train=300, num_eval=100, extra_splits=["longer", "unseen_wordings"])
    train, held_out = task.examples("train"), task.examples("eval")
    prompts = [example.prompt for example in train + held_out]
    assert len(set(prompts)) == len(prompts) == 600
    assert [example.split for example in held_out] == ["eval"] * 100 + ["longer"] * 100 + [
        "unseen_wordings"
    ] * 100
    assert [example.number for example in held_out] == 3 * list(range(1, 101))
    assert held_out[:100] == StoryTask(num_eval=100).examples("eval")
    more = StoryTask(num_train=999, num_eval=100).examples("train")
    assert more[:300] == train


def test_the_harder_splits_are_what_they_are_called() -> None:
    task = StoryTask(num_train=1, num_eval=50, extra_splits=["unseen_wordings", "longer"])
    by_split: dict[str, list[Example]] = {}
    for example in task.examples("eval"):
        by_split.setdefault(example.split, []).append(example)
    steps = {name: {len(STEP.findall(one.prompt)) for one in some} for name, some in by_split.items()}
    assert steps == {"eval": {3, 4}, "longer": {5, 6}, "unseen_wordings": {3, 4}}
    usual = re.compile(rf"(he|she) ({'|'.join(GAINS + LOSSES)}) \d+|a friend doubles the pile")
    for name, some in by_split.items():
        told = [what for one in some for _, what in STEP.findall(one.prompt)]
        assert {bool(usual.fullmatch(what)) for what in told} == {name != "unseen_wordings"}


@pytest.mark.parametrize(
    "completion",
    ["", "6", "#### ", "#### 6 7", "#### six", "#### 6 . #### 5", "in the end Tom has 6 apples ."],
)
def test_without_the_right_number_at_the_end_an_answer_is_wrong(completion: str) -> None:
    example = Example("-", "that leaves 6 apples . #### 6", 1)
    assert StoryTask().mark(completion, example) == {"exact_match": 0.0}
    assert StoryTask().mark("#### 5 #### 6", example) == {"exact_match": 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_steps": 5}, "task: min_steps must not exceed max_steps"),
        (
            {"max_steps": 8},
            "task: max_steps 8 is more than the 7 days of a week, and each step has its own: lower it",
        ),
        (
            {"max_steps": 6, "extra_splits": ["longer"]},
            "task: extra_splits: stories of longer have up to 8 steps, more than the 7 days of a week: lower max_steps",
        ),
        ({"num_train": 100_001}, "task.num_train: Input should be less than or equal to 100000"),
        ({"extra_splits": ["harder"]}, "task.extra_splits.0: Input should be 'longer' or 'unseen_wordings'"),
    ],
)
def test_settings_that_cannot_be_met_are_named(settings: dict[str, object], message: str) -> None:
    document = {
        "name": "run",
        "task": {"kind": "story", **settings},
        "teacher": {},
        "student": {"model": "-"},
    }
    with pytest.raises(ConfigError) as caught:
        parse_config(document)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_answers_that_would_be_cut_off_are_refused() -> None:
    task = StoryTask(extra_splits=["longer"])
    longest = task.default_new_tokens
    assert longest == answer_length(6) > StoryTask().default_new_tokens == answer_length(4)
    task.check(longest)
    task.check(None)
    StoryTask().check(10)
    refused = f"up to {longest} tokens, more than student.max_new_tokens {longest - 1}"
    with pytest.raises(ConfigError, match=refused):
        task.check(longest - 1)
