"""How a prompt is put to a chat model: conversations, and the settings of a chat template.

A task only says what is asked. ``adaswitch.data.chat`` renders it with the tokenizer's chat template.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator

from adaswitch.errors import DataError

Message = Mapping[str, object]
"""One turn of a conversation: ``role`` and ``content``, and whatever else the chat template reads of it."""

INSTRUCTION_ROLES = ("system", "developer")
"""The roles that may open a conversation and nothing else."""
ASKING_ROLES = ("user", "tool")
"""The roles after which the model writes."""
ROLES = (*INSTRUCTION_ROLES, *ASKING_ROLES, "assistant")

TAKEN_VARIABLES = frozenset(
    (
        *("add_generation_prompt", "chat_template", "continue_final_message", "conversation", "max_length"),
        *("messages", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors"),
        *("strftime_now", "tokenize", "tokenizer_kwargs", "truncation"),
    )
)
"""The names that are not variables of a template, or that a run sets itself."""


@dataclass(frozen=True)
class Chat:
    """What a chat template is given beside the prompt."""

    system_prompt: str | None = None
    """The system message before each prompt. None gives no system message; an empty text gives an empty one."""
    template_kwargs: Mapping[str, object] = field(default_factory=dict)
    """Variables of the chat template, by name."""
    date: datetime.date | None = None
    """The day that the template takes for today. None is the real day."""


def conversation(value: Sequence[object], name: str, number: int, source: str) -> tuple[Message, ...]:
    """``value``, which messages call ``name``, as the turns of a conversation that the model is to go on with.

    Raises ``DataError`` with ``source`` and the line ``number`` for a turn that is none, for a role that is unknown or
    in the wrong place, for a turn without text, and for a conversation that does not end with a turn of the user.
    """

    def refuse(message: str) -> DataError:
        """The error, with the place of the conversation."""
        return DataError(f"{name}{message}", source=source, line=number)

    if not value:
        raise refuse(" is an empty list: write the conversation's messages, or the prompt as a string")
    for place, message in enumerate(value, start=1):
        where = f", message {place}"
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise refuse(f"{where} must be an object with role and content, and is {_shown(message)}")
        role, content = message["role"], message["content"]
        if role not in ROLES:
            raise refuse(f"{where} has the role {_shown(role)}, which is none of {', '.join(ROLES)}")
        if role in INSTRUCTION_ROLES and place > 1:
            raise refuse(f"{where} has the role {role}, which only the first message may have")
        calls_tools = role == "assistant" and bool(message.get("tool_calls"))
        if not isinstance(content, str) and not (calls_tools and content is None):
            raise refuse(f"{where} must have a string as its content, and has {_shown(content)}")
        if isinstance(content, str) and any("\ud800" <= character <= "\udfff" for character in content):
            raise refuse(f"{where} holds half of a surrogate pair, which is no text")
    last = value[-1]
    assert isinstance(last, Mapping)
    if last["role"] not in ASKING_ROLES:
        raise refuse(
            f" ends with a message of the role {last['role']}, where the model is to write: the last message must "
            "be the user's (or a tool's); put the answer into the reference"
        )
    if not str(last["content"]).strip():
        raise refuse(f", message {len(value)} is empty, and it is what the model is asked")
    return tuple(dict(message) for message in value if isinstance(message, Mapping))


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, str | int | float):
        return f"{value!r:.40}"
    return (
        f"an object with {', '.join(map(str, value)) or 'nothing'}"
        if isinstance(value, Mapping)
        else "a list"
    )


def as_day(value: object) -> object:
    """``value`` as a day, from a YAML date or a text as in ``2026-11-30``; None stays None.

    Raises ``ValueError`` for anything else.
    """
    if value is None or (isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)):
        return value
    try:
        if isinstance(value, str):
            return datetime.date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(f"{value!s:.40} is no day: write it as in 2026-11-30")


def _template_variables(value: object) -> object:
    """``value`` if every process that reads the config gets the same variables; none at all for a blank."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return value
    taken = sorted(set(map(str, value)) & TAKEN_VARIABLES)
    if taken:
        raise ValueError(f"{taken[0]} is not for the template to read, or the run sets it: leave it out")
    try:
        plain: object = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"cannot be written into a config: {error}; use numbers, texts, lists and mappings"
        ) from None
    return plain


Day = Annotated[datetime.date, BeforeValidator(as_day)]
"""A day, as a YAML date or as text: ``2026-11-30``."""
TemplateVariables = Annotated[dict[str, Any], BeforeValidator(_template_variables)]
"""Variables of a chat template by name, with values that JSON can hold."""
