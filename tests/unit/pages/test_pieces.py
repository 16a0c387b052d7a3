"""Pieces in a row read as the whole text, whatever the script, and wherever a character is cut."""

import pytest

from adaswitch.data.models import load_tokenizer
from adaswitch.pages.pieces import NumberTexts, TokenizerTexts
from tests.pages import TOKENIZER

TEXTS = TokenizerTexts(TOKENIZER)


@pytest.mark.parametrize(
    "text", ["plain", "  two  blanks ", "a\n\tb", "你好世界", "שלום مرحبا", "🙂👩‍👩‍👧", "e\u0301", "नमस्ते", ""]
)
def test_pieces_make_up_the_text(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    pieces = TEXTS.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text


def test_a_character_stands_at_the_token_that_completes_it() -> None:
    assert TEXTS.pieces(TOKENIZER.encode("a你b")) == ["a", "", "", "你", "b"]


def test_bytes_that_never_become_a_character_are_not_lost() -> None:
    ids = TOKENIZER.encode("你")[:2]
    assert TEXTS.pieces(ids) == ["", "\ufffd"]
    broken = TEXTS.pieces([*ids, *TOKENIZER.encode("ok")])
    assert "".join(broken) == "\ufffdok"


def test_a_token_alone_has_a_name_that_can_be_read() -> None:
    first = TOKENIZER.encode("你")[0]
    assert TEXTS.name(first) == "⟨e4⟩"
    assert TEXTS.name(TOKENIZER.encode(" ")[0]) == " "
    assert TEXTS.name(TOKENIZER.eos_token_id) == "<|end|>"


def test_the_demos_tokenizer() -> None:
    texts = TokenizerTexts(load_tokenizer("models/chain-student"))
    assert "".join(texts.pieces([1, 6, 13, 8, 15])) == "<bos>3+5*"


def test_ids_stand_for_texts_where_there_is_no_tokenizer() -> None:
    assert NumberTexts().pieces([3, 5]) == ["⟨3⟩", "⟨5⟩"]
