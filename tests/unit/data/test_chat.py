"""Prompts as conversations: the system message, the template's variables, the run's own day."""

import datetime

import pytest

from adaswitch.data.chat import template_notes
from adaswitch.data.datasets import encode_prompt
from adaswitch.errors import DataError, ModelError
from adaswitch.tasks.base import DataSource, Example
from adaswitch.tasks.gsm8k import Gsm8kTask
from adaswitch.tasks.jsonl import JsonlTask
from tests.chat_tokenizer import DATED, DEAF, LLAMA_DATED, NO_SYSTEM, PLAIN, THINKING, byte_tokenizer

SOURCE = DataSource(path="train.jsonl")
EXAMPLE = Example("Hello", "Hi", 5, source="a.jsonl")


def rendered(template: str, example: Example = EXAMPLE, **settings: object) -> str:
    """The prompt as the models see it, with its special tokens."""
    tokenizer = byte_tokenizer(template)
    task = Gsm8kTask.model_validate({"train": SOURCE, **settings})
    return str(tokenizer.decode(encode_prompt(tokenizer, task, example)))


def conversation(*turns: tuple[str, str]) -> Example:
    task = JsonlTask(train=SOURCE, chat_template=True)
    messages = [{"role": role, "content": content} for role, content in turns]
    return task.example({"prompt": messages, "reference": "x"}, 5, "a.jsonl")


def test_a_system_prompt_comes_before_the_prompt():
    assert rendered(PLAIN) == "<|user|>Hello<|end|><|assistant|>"
    assert rendered(PLAIN, system_prompt="Be brief.") == (
        "<|system|>Be brief.<|end|><|user|>Hello<|end|><|assistant|>"
    )
    assert rendered(PLAIN, system_prompt="") == "<|system|><|end|><|user|>Hello<|end|><|assistant|>"


def test_a_conversation_is_rendered_turn_by_turn():
    example = conversation(("user", "1+1?"), ("assistant", "2"), ("user", "And 2+2?"))
    assert rendered(PLAIN, example) == (
        "<|user|>1+1?<|end|><|assistant|>2<|end|><|user|>And 2+2?<|end|><|assistant|>"
    )
    assert rendered(PLAIN, example, system_prompt="Add.").startswith("<|system|>Add.<|end|><|user|>1+1?")


def test_a_conversation_with_a_system_message_keeps_its_own():
    example = conversation(("system", "Mine."), ("user", "Hello"))
    assert rendered(PLAIN, example, system_prompt="Yours.").startswith("<|system|>Mine.<|end|><|user|>")


@pytest.mark.parametrize("template", [DATED, LLAMA_DATED])
def test_the_day_of_a_template_is_the_runs_day(template):
    text = rendered(template, date="2025-02-03")
    assert text.startswith("Today is 03 Feb 2025.")
    assert rendered(template, date=datetime.date(2025, 2, 3)) == text


def test_a_day_of_the_templates_own_variables_comes_first():
    kwargs = {"date_string": "some day"}
    assert rendered(LLAMA_DATED, date="2025-02-03", chat_template_kwargs=kwargs).startswith(
        "Today is some day."
    )


def test_the_variables_of_a_template_are_passed_on():
    assert rendered(THINKING, chat_template_kwargs={"enable_thinking": False}).endswith("<think></think>")
    assert rendered(THINKING, chat_template_kwargs={"enable_thinking": True}) == rendered(THINKING)


def test_what_the_template_makes_nothing_of_is_said():
    task = Gsm8kTask(train=SOURCE, system_prompt="Be brief.", chat_template_kwargs={"enable_thinkin": False})
    variable = "task.chat_template_kwargs.enable_thinkin: the chat template never reads it"
    [note] = template_notes(byte_tokenizer(THINKING), task, [EXAMPLE])
    assert note.startswith(variable)
    first, second = template_notes(byte_tokenizer(DEAF), task, [EXAMPLE])
    assert first.startswith(variable)
    assert second.startswith("task.system_prompt: the chat template leaves the system message out")
    heard = Gsm8kTask(
        train=SOURCE, system_prompt="Be brief.", chat_template_kwargs={"enable_thinking": False}
    )
    assert template_notes(byte_tokenizer(THINKING), heard, [EXAMPLE]) == []
    assert template_notes(byte_tokenizer(None), JsonlTask(train=SOURCE), [EXAMPLE]) == []


def test_a_template_that_refuses_names_the_record_and_the_fix():
    with pytest.raises(ModelError) as caught:
        rendered(NO_SYSTEM, system_prompt="Be brief.")
    assert str(caught.value) == (
        "a.jsonl, line 5: the chat template refuses the prompt: System role not supported: leave task.system_prompt "
        "and system messages out, or take another template"
    )
    with pytest.raises(
        ModelError, match=r"a\.jsonl, line 5: the chat template refuses the prompt: .*change the record"
    ):
        rendered("{{ messages[3].content.upper() }}")


def test_a_prompt_without_any_token_is_named():
    place = r"a\.jsonl, line 5: the prompt comes to no token at all"
    with pytest.raises(DataError, match=place):
        rendered("{% if false %}{{ messages }}{% endif %}")


def test_a_plain_prompt_without_any_token_is_named():
    class Silent:
        chat_template = None

        def encode(self, text, *, add_special_tokens):
            return []

    with pytest.raises(DataError, match=r"a\.jsonl, line 5: the prompt comes to no token at all"):
        encode_prompt(Silent(), JsonlTask(train=SOURCE), EXAMPLE)
