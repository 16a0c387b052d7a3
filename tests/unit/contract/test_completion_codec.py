"""Completions as bytes: there and back, and what is no completion."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.contract.completion_codec import FORMAT, Unaided, decode_completion, encode_completion
from adaswitch.errors import DataError


@given(st.lists(st.integers(0, 2**31), min_size=1), st.integers(0, 10**9))
def test_a_completion_comes_back(token_ids: list[int], version: int) -> None:
    assert decode_completion(encode_completion(token_ids, version)) == Unaided(tuple(token_ids), version)


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        {"format": "other", "weights_version": 0, "token_ids": [1]},
        {"format": FORMAT, "weights_version": 0, "token_ids": []},
        {"format": FORMAT, "weights_version": 0, "token_ids": None},
        {"format": FORMAT, "weights_version": True, "token_ids": [1]},
        {"format": FORMAT, "weights_version": 0, "token_ids": [1.0]},
        {"format": FORMAT, "weights_version": 0, "token_ids": [-1]},
        {"format": FORMAT, "token_ids": [1]},
    ],
)
def test_what_is_no_completion_is_named(document: object) -> None:
    with pytest.raises(DataError, match="an evaluation: the completion cannot be read"):
        decode_completion(json.dumps(document).encode())


@given(st.binary(max_size=40))
def test_any_bytes_are_a_completion_or_a_data_error(blob: bytes) -> None:
    with pytest.raises(DataError):
        decode_completion(blob)
