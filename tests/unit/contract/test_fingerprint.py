"""The tokenizer's fingerprint: the same for the same meaning of ids, another for any other."""

import pytest

from adaswitch.contract.fingerprint import tokenizer_sha256

VOCABULARY = {"a": 0, "b": 1, "Ġthe": 2, "<|end|>": 3}


def test_the_order_of_entries_does_not_matter() -> None:
    backwards = dict(reversed(VOCABULARY.items()))
    assert list(backwards) != list(VOCABULARY)
    assert tokenizer_sha256(backwards) == tokenizer_sha256(VOCABULARY)


@pytest.mark.parametrize(
    "other",
    [
        {**VOCABULARY, "a": 1, "b": 0},
        {**VOCABULARY, "c": 4},
        {"a": 0, "b": 1, "Ġthe": 2},
        {"a": 0, "b": 1, "the": 2, "<|end|>": 3},
        {"a": 0, "b": 1, "Ġthe": 2, "<|end|>": 30},
        {},
    ],
)
def test_any_difference_shows(other: dict[str, int]) -> None:
    assert tokenizer_sha256(other) != tokenizer_sha256(VOCABULARY)


def test_texts_do_not_run_into_each_other() -> None:
    assert tokenizer_sha256({'a", 1], ["b': 0}) != tokenizer_sha256({"a": 0, "b": 0})


def test_any_text_has_a_fingerprint() -> None:
    assert len(tokenizer_sha256({"\udcff": 0, "é": 1, "": 2})) == 64


def test_the_fingerprint_stays_what_it_is() -> None:
    # Services of different releases compare it.
    assert tokenizer_sha256(VOCABULARY) == "82afcc7724304f9d28c2a89f5e18004385c62953cbd05f8de7bc679533f22c8b"


def test_two_texts_of_one_id_have_one_order() -> None:
    assert tokenizer_sha256({"x": 0, "y": 0}) == tokenizer_sha256({"y": 0, "x": 0})
