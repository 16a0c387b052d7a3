"""Tokens that are named by their texts: those that end a sentence, and those that begin a second thought."""

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field

from adaswitch.errors import ConfigError

Texts = Callable[[], Sequence[str]]
"""The text of each token of the vocabulary, by its id; made only when it is asked for. Ids that stand for no text have
an empty one."""


Mark = Annotated[str, Field(min_length=1)]
"""A text with which the text of a token may end."""
Word = Annotated[str, Field(pattern=r"\S")]
"""A text that the text of a token may be, spaces and case apart."""


def ids_where(
    texts: Sequence[str], is_meant: Callable[[str], bool], setting: str, what: str
) -> frozenset[int]:
    """The ids of the tokens whose text ``is_meant``. Raises ``ConfigError`` if the tokenizer has none."""
    found = frozenset(i for i, text in enumerate(texts) if text and is_meant(text))
    if not found:
        raise ConfigError(f"{setting}: the tokenizer has no token that {what}: name others")
    return found


def require_bound(ids: frozenset[int] | None, setting: str) -> frozenset[int]:
    """``ids``. Raises ``ValueError`` if the policy has not been bound to a tokenizer."""
    if ids is None:
        raise ValueError(
            f"{setting} names tokens by their texts: call policy.bound with the tokenizer's first"
        )
    return ids
