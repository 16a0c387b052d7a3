"""A policy and the tokenizer of the models: tokens that a setting names by their texts are found here."""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from transformers import PreTrainedTokenizerBase

from adaswitch.method.policies.base import Policy

AnyPolicy = TypeVar("AnyPolicy", bound=Policy)


def bound(policy: AnyPolicy, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> AnyPolicy:
    """``policy`` as it can roll out with ``tokenizer``. Raises ``ConfigError`` if a token that it names is missing."""
    return policy.bound(cache(lambda: token_texts(tokenizer, vocab_size)))


def token_texts(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> Sequence[str]:
    """What each id below ``vocab_size`` reads by itself; empty for special tokens and for ids that are none."""
    special, known = set(tokenizer.all_special_ids), set(tokenizer.get_vocab().values())
    return [
        str(tokenizer.decode([i], clean_up_tokenization_spaces=False))
        if i in known and i not in special
        else ""
        for i in range(vocab_size)
    ]
