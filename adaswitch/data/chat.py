"""Renders a prompt with the tokenizer's chat template, with the run's own variables and the run's own day."""

import datetime
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from adaswitch.errors import ModelError
from adaswitch.tasks.base import Example, Task
from adaswitch.tasks.chat import INSTRUCTION_ROLES, Chat, Message


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that renders conversations."""

    @property
    def chat_template(self) -> str | dict[str, str] | None:
        """The template that turns conversations into text, if there is one."""
        ...

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        *,
        add_generation_prompt: bool,
        tokenize: bool,
        **variables: Any,
    ) -> object:
        """``conversation`` as text, in the form that the chat model was trained on."""
        ...


def render_chat(tokenizer: ChatTokenizer, task: Task, example: Example) -> str:
    """The text of ``example`` as a conversation, followed by the start of the assistant's turn.

    Raises ``ModelError`` if there is no chat template, or with the example's place if it refuses the conversation.
    """
    if tokenizer.chat_template is None:
        raise ModelError(
            "task.chat_template: the tokenizer has no chat template; set it to false, or use a chat model"
        )
    messages = messages_of(task.chat, example)
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=True,
            tokenize=False,
            **_variables(task.chat, _source_of_template(tokenizer)),
        )
    except Exception as error:  # A template may raise any error, its own and those of its expressions.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        has_system = messages[0]["role"] in INSTRUCTION_ROLES
        fix = "leave task.system_prompt and system messages out" if has_system else "change the record"
        raise ModelError(
            f"{example.place}: the chat template refuses the prompt: {reason}: {fix}, or take another template"
        ) from None
    return str(text)


def messages_of(chat: Chat, example: Example) -> Sequence[Message]:
    """The turns that the template gets: the example's own, and before them the system message if they have none."""
    messages = example.messages or ({"role": "user", "content": example.prompt},)
    if chat.system_prompt is None or messages[0]["role"] in INSTRUCTION_ROLES:
        return messages
    return ({"role": "system", "content": chat.system_prompt}, *messages)


def template_notes(tokenizer: ChatTokenizer, task: Task, examples: Sequence[Example]) -> list[str]:
    """What the chat template makes nothing of: a variable, or, with the first of ``examples``, the system message."""
    if not task.wraps_prompts or tokenizer.chat_template is None or not examples:
        return []
    chat, source, example = task.chat, _source_of_template(tokenizer), examples[0]
    notes = [
        f"task.chat_template_kwargs.{name}: the chat template never reads it, so it changes nothing"
        for name in chat.template_kwargs
        if not _mentions(source, name)
    ]
    system_prompt = (chat.system_prompt or "").strip()
    added = messages_of(chat, example)[0].get("content") == chat.system_prompt
    if system_prompt and added and system_prompt not in render_chat(tokenizer, task, example):
        notes.append("task.system_prompt: the chat template leaves the system message out or changes it")
    return notes


def _variables(chat: Chat, source: str) -> dict[str, object]:
    """The template's variables: the day, under the names by which templates ask for it, and the task's own."""
    variables: dict[str, object] = {}
    if chat.date is not None:
        now = pinned_now(chat.date)
        days = {"strftime_now": now, "date_string": now("%d %b %Y")}
        variables = {name: value for name, value in days.items() if _mentions(source, name)}
    return variables | dict(chat.template_kwargs)


def pinned_now(day: datetime.date) -> Callable[[str], str]:
    """The function ``strftime_now`` that transformers gives to templates, at the first moment of ``day``."""
    now = datetime.datetime.combine(day, datetime.time())
    return now.strftime


def _source_of_template(tokenizer: ChatTokenizer) -> str:
    """The template's text; all of them, if the tokenizer has several by name."""
    template = tokenizer.chat_template
    return "\n".join(template.values()) if isinstance(template, dict) else template or ""


def _mentions(source: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", source) is not None
