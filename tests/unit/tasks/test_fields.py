"""Where a record's prompt and answer are found, and what may stand there."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from adaswitch.errors import DataError
from adaswitch.tasks.base import DataSource
from adaswitch.tasks.fields import any_field
from adaswitch.tasks.gsm8k import Gsm8kTask
from adaswitch.tasks.jsonl import JsonlTask

SOURCE = DataSource(path="data.jsonl")
RECORD = {
    "conversations": [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}],
    "a.b": "literal",
    "a": {"b": "nested", "c.d": {"e": 1}, "none": None},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("conversations.0.value", "1+1?"),
        ("conversations.1.value", "2"),
        ("conversations.-1.value", "2"),
        ("a.b", "literal"),
        ("a.c.d.e", 1),
        ("a.none", None),
    ],
)
def test_a_path_leads_into_objects_and_lists(path, value):
    assert any_field(RECORD, path, 1, "a.jsonl") == value


@pytest.mark.parametrize(
    ("path", "there_is"),
    [
        ("b", "there are: a, a.b, conversations"),
        ("a.x", "in a there are: b, c.d, none"),
        ("conversations.2.value", "in conversations there is a list of 2, from 0 on"),
        ("conversations.one", "in conversations there is a list of 2, from 0 on"),
        ("conversations.0.text", "in conversations.0 there are: from, value"),
        ("a.b.c", "in a.b there is no object, and no list"),
        ("", "there are: a, a.b, conversations"),
        (".", "there are: a, a.b, conversations"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_is_there(path, there_is):
    with pytest.raises(DataError) as caught:
        any_field(RECORD, path, 4, "a.jsonl")
    assert str(caught.value) == f'a.jsonl, line 4: no field "{path}" ({there_is})'


@pytest.mark.parametrize(
    ("answer", "references"),
    [
        (18, ["18"]),
        (3.5, ["3.5"]),
        (-2, ["-2"]),
        (Decimal("1.50"), ["1.50"]),
        (18.0, ["18"]),
        (-0.0, ["0"]),
        (1e20, ["100000000000000000000"]),
        (1e-7, ["0.0000001"]),
        ([18, "eighteen"], ["18", "eighteen"]),
    ],
)
def test_a_number_is_an_answer(answer, references):
    example = JsonlTask(train=SOURCE).example({"prompt": "?", "reference": answer}, 1, "a.jsonl")
    assert list(example.all_references) == references


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (True, "must be a string or a number, and is true"),
        (float("inf"), "must be a string or a number, and is inf"),
        ({"content": "x"}, "and is an object: name its text by a path, as in FIELD.KEY (its keys: content)"),
    ],
)
def test_what_is_no_answer_is_refused(answer, complaint):
    with pytest.raises(DataError) as caught:
        JsonlTask(train=SOURCE).example({"prompt": "?", "reference": answer}, 3, "a.jsonl")
    assert str(caught.value).startswith('a.jsonl, line 3: field "reference" ')
    assert complaint in str(caught.value)


def messages(*turns: object, **settings: object):
    task = JsonlTask.model_validate({"train": SOURCE, "chat_template": True, **settings})
    return task.example({"prompt": list(turns), "reference": "x"}, 3, "a.jsonl")


USER, ASSISTANT = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}


def test_a_prompt_may_be_a_list_of_messages():
    tool = {"role": "tool", "content": "18", "tool_call_id": "a"}
    calling = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]}
    example = messages(USER, calling, tool)
    assert example.prompt == "18"
    assert example.messages == (USER, calling, tool)
    suffixed = messages(USER, prompt_suffix="!")
    assert (suffixed.prompt, suffixed.messages) == ("Hello!", ({"role": "user", "content": "Hello!"},))


@pytest.mark.parametrize(
    ("turns", "complaint"),
    [
        ([], " is an empty list"),
        (["Hello"], ", message 1 must be an object with role and content, and is 'Hello'"),
        (
            [{"from": "human", "value": "?"}],
            ", message 1 must be an object with role and content, and is an object",
        ),
        (
            [{**USER, "role": "human"}],
            ", message 1 has the role 'human', which is none of system, developer, user",
        ),
        (
            [USER, {"role": "system", "content": "x"}, USER],
            ", message 2 has the role system, which only the first",
        ),
        ([{**USER, "content": None}], ", message 1 must have a string as its content, and has null"),
        (
            [{**USER, "content": [{"type": "text"}]}],
            ", message 1 must have a string as its content, and has a list",
        ),
        ([USER, ASSISTANT], " ends with a message of the role assistant, where the model is to write"),
        ([{"role": "system", "content": "x"}], " ends with a message of the role system"),
        (
            [USER, ASSISTANT, {**USER, "content": " "}],
            ", message 3 is empty, and it is what the model is asked",
        ),
    ],
)
def test_a_conversation_that_cannot_be_gone_on_with_is_refused(turns, complaint):
    with pytest.raises(DataError) as caught:
        messages(*turns)
    assert str(caught.value).startswith(f'a.jsonl, line 3: field "prompt"{complaint}')


def test_half_a_surrogate_pair_in_a_conversation_is_refused():
    turns = [{"role": "user", "content": "a\ud800"}]
    with pytest.raises(DataError, match="message 1 holds half of a surrogate pair"):
        JsonlTask(train=SOURCE, chat_template=True).example({"prompt": turns, "reference": "b"}, 1, "a.jsonl")


def test_a_list_of_messages_needs_a_chat_template():
    with pytest.raises(
        DataError, match=r"line 3: field \"prompt\" is a list of messages.*set task\.chat_template to true"
    ):
        messages(USER, chat_template=False)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"system_prompt": "x", "chat_template": False}, "system_prompt is for the chat template"),
        (
            {"chat_template_kwargs": {"a": 1}, "chat_template": False},
            "chat_template_kwargs is for the chat template",
        ),
        ({"chat_template_kwargs": {"tokenize": True}}, "tokenize is not for the template to read"),
        ({"chat_template_kwargs": {"a": float("nan")}}, "cannot be written into a config"),
        ({"date": "tomorrow"}, "tomorrow is no day: write it as in 2026-11-30"),
        ({"date": 20261130}, "20261130 is no day"),
        ({"too_long": "cut"}, "Input should be 'refuse', 'skip' or 'truncate'"),
        ({"train": {"path": []}}, "path names no file"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, complaint):
    with pytest.raises(ValidationError) as caught:
        Gsm8kTask.model_validate({"train": {"path": "a"}, **settings})
    assert complaint in str(caught.value)


def test_settings_stay_the_same_through_a_config_file():
    task = Gsm8kTask(train=SOURCE, date="2026-11-30", chat_template_kwargs={"a": [1, {"b": None}]})
    assert Gsm8kTask.model_validate(task.model_dump(mode="json")) == task
    assert (
        Gsm8kTask.model_validate({"train": SOURCE, "chat_template_kwargs": None}).chat_template_kwargs == {}
    )
