"""Prompts that are too long: refused, left out, or cut so that what stands around them stays whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.data.datasets import encode_prompt
from adaswitch.data.lengths import Limit, cut_to_fit, fit_prompts
from adaswitch.errors import DataError, ModelError
from adaswitch.tasks.base import DataSource, Example
from adaswitch.tasks.chain import ChainTask
from adaswitch.tasks.dialogsum import DialogsumTask
from adaswitch.tasks.jsonl import JsonlTask
from tests.chat_tokenizer import byte_tokenizer

TOKENIZER = byte_tokenizer()
SHORT = Example("a b", "x", 1, source="a.jsonl")
LONG = Example("one two three four", "x", 2, source="a.jsonl")


def task(**settings: object) -> JsonlTask:
    return JsonlTask.model_validate({"train": {"path": "a.jsonl"}, **settings})


def fitted(settings: JsonlTask | ChainTask, *examples: Example, longest: int = 16):
    limits = [Limit(100, "the student"), Limit(longest, "the teacher")]
    return fit_prompts(TOKENIZER, settings, examples, limits, 4)


def test_a_prompt_that_is_too_long_is_refused_by_default():
    with pytest.raises(ModelError) as caught:
        fitted(task(), SHORT, LONG)
    assert str(caught.value) == (
        "a.jsonl, line 2: the prompt has 18 tokens; with student.max_new_tokens 4 that is more than the 16 that the "
        "teacher takes: lower the budget, leave the record out, or set task.too_long to skip or truncate"
    )
    with pytest.raises(ModelError, match=r"lower the budget, or leave the record out$"):
        fitted(ChainTask(), LONG)


def test_it_is_left_out_and_counted():
    kept = fitted(task(too_long="skip"), SHORT, LONG)
    assert (kept.examples, kept.num_skipped, kept.num_cut) == ([SHORT], 1, 0)
    assert kept.note("training prompts") == ["training prompts: 1 left out of 2, as too long"]
    assert fitted(task(too_long="skip"), SHORT).note("training prompts") == []
    with pytest.raises(
        DataError, match=r"a\.jsonl: all 1 prompts are left out as too long: each has more than 12"
    ):
        fitted(task(too_long="skip"), LONG)


def test_it_is_cut_at_the_beginning_of_a_word_and_counted():
    kept = fitted(task(too_long="truncate"), SHORT, LONG)
    assert [example.prompt for example in kept.examples] == ["a b", "three four"]
    assert [len(prompt) for prompt in kept.prompts] == [3, 10]
    assert kept.examples[1].place == LONG.place
    assert kept.note("held-out prompts") == ["held-out prompts: 1 cut of 2, as too long"]


def test_a_limit_of_ones_own_counts_as_well():
    with pytest.raises(
        ModelError, match=r"the prompt has 3 tokens; that is more than task\.max_prompt_tokens 2:"
    ):
        fitted(task(max_prompt_tokens=2), SHORT)
    assert fitted(task(max_prompt_tokens=2, too_long="truncate"), SHORT).examples[0].prompt == "b"


def test_what_the_task_puts_around_a_prompt_stays():
    settings = DialogsumTask(
        train=DataSource(path="a.jsonl"),
        prompt_prefix="Sum up: ",
        prompt_suffix=" Now.",
        system_prompt="Short.",
    )
    example = settings.example({"dialogue": "one two three four", "summary": "x"}, 1, "a.jsonl")
    whole = len(encode_prompt(TOKENIZER, settings, example))
    cut = cut_to_fit(TOKENIZER, settings, example, whole - 1)
    assert cut.prompt == "Sum up: two three four Now."
    text = TOKENIZER.decode(encode_prompt(TOKENIZER, settings, cut))
    assert text == "<|system|>Short.<|end|><|user|>Sum up: two three four Now.<|end|><|assistant|>"


TURNS = [
    ("system", "S"),
    ("user", "aa"),
    ("assistant", "bb"),
    ("user", "cc"),
    ("assistant", "dd"),
    ("user", "ee ff"),
]


def test_the_oldest_turns_of_a_conversation_go_first():
    settings = task(chat_template=True)
    messages = [{"role": role, "content": content} for role, content in TURNS]
    example = settings.example({"prompt": messages, "reference": "x"}, 1, "a.jsonl")

    def cut_to(room: int) -> list[object]:
        cut = cut_to_fit(TOKENIZER, settings, example, room)
        assert cut.prompt == cut.messages[-1]["content"]
        return [message["content"] for message in cut.messages]

    whole = len(encode_prompt(TOKENIZER, settings, example))
    assert cut_to(whole) == ["S", "aa", "bb", "cc", "dd", "ee ff"]
    assert cut_to(whole - 1) == ["S", "cc", "dd", "ee ff"]
    assert cut_to(whole - 9) == ["S", "ee ff"]
    assert cut_to(whole - 18) == ["S", "ff"]


def test_a_frame_that_is_too_long_by_itself_is_refused():
    settings = task(chat_template=True, system_prompt="A system prompt.")
    with pytest.raises(ModelError, match=r"a\.jsonl, line 2: the prompt cannot be cut to the 12 tokens"):
        cut_to_fit(TOKENIZER, settings, LONG, 12)


@given(text=st.text(min_size=1, max_size=60).filter(str.strip), room=st.integers(4, 30))
def test_whatever_the_text_the_cut_prompt_is_its_end_and_fits(text, room):
    cut = cut_to_fit(TOKENIZER, task(), Example(text, "x", 1), room)
    assert cut.prompt
    assert text.endswith(cut.prompt)
    assert len(encode_prompt(TOKENIZER, task(), cut)) <= room
