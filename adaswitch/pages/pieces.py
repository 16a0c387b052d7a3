"""The text of each token, so that the pieces in a row read as the whole text does.

A token may be a part of a character: the bytes of a Chinese character, or of an emoji, often are two or three tokens.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNFINISHED = "\ufffd"
"""How a decoder shows bytes that are no whole character."""

REMEMBERED = 65_536
"""The number of stretches of tokens whose text is remembered."""


class Texts(Protocol):
    """Tokens as text."""

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """What each token adds to the text. Empty for a token whose character ends in a later one."""

    def name(self, token_id: int) -> str:
        """A token alone, as people may read it."""


class TokenizerTexts:
    """``Texts`` of a tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        # Most short stretches of tokens come again and again.
        self._decoded = lru_cache(maxsize=REMEMBERED)(
            lambda token_ids: str(tokenizer.decode(list(token_ids)))
        )
        self._bytes = _byte_characters()

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """See ``Texts``. A decoder may give a token another text after others, so each is decoded behind the last."""
        found: list[str] = []
        start = whole = 0
        for end in range(1, len(token_ids) + 1):
            before, after = self._decode(token_ids[start:whole]), self._decode(token_ids[start:end])
            if after.endswith(UNFINISHED) and end < len(token_ids):
                found.append("")
                continue
            found.append(after[len(before) :])
            start, whole = whole, end
        return found

    def name(self, token_id: int) -> str:
        """See ``Texts``. Bytes that are no whole character are shown in hexadecimal, as in ``⟨e4 bd⟩``."""
        text = self._decode([token_id])
        if UNFINISHED not in text:
            return text
        known = self._tokenizer.convert_ids_to_tokens(token_id)
        token = known if isinstance(known, str) else text
        if all(character in self._bytes for character in token):
            return f"⟨{' '.join(f'{self._bytes[character]:02x}' for character in token)}⟩"
        return token

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._decoded(tuple(token_ids)) if token_ids else ""


class NumberTexts:
    """``Texts`` where there is no tokenizer: the ids themselves."""

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """See ``Texts``."""
        return [self.name(token_id) for token_id in token_ids]

    def name(self, token_id: int) -> str:
        """See ``Texts``."""
        return f"⟨{token_id}⟩"


@lru_cache(maxsize=1)
def _byte_characters() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for."""
    # Imported here, because transformers takes seconds to import.
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    table: dict[int, str] = bytes_to_unicode()
    return {character: byte for byte, character in table.items()}
