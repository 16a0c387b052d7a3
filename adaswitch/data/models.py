"""Model folders and tokenizers: loads them with clear errors, and reads what a run must know about them."""

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from adaswitch.contract.fingerprint import require_same_tokenizer, tokenizer_sha256
from adaswitch.contract.wire import ModelInfo
from adaswitch.data.architecture import longest_sequence
from adaswitch.data.model_folder import check_model_folder
from adaswitch.errors import ModelError

Loaded = TypeVar("Loaded")
UNLIMITED = 2**31
"""The longest sequence of a model that names no limit."""


def load(loader: Callable[..., Loaded], folder: str, setting: str, **options: Any) -> Loaded:
    """``loader(folder)``. Any failure is raised as a ``ModelError`` with ``setting`` and the folder."""
    check_model_folder(folder, setting)
    try:
        return loader(folder, **options)
    except Exception as error:  # A folder can be wrong in any way, and transformers checks few of them.
        raise ModelError(f"{setting}: cannot load {folder!r}: {_reason(error, folder)}") from error


def _reason(error: Exception, folder: str) -> str:
    if not os.path.isdir(folder):
        return "there is no such folder, and no model of that name could be had from the hub"
    said = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    # A first line that ends in a colon says nothing without the next.
    first = " ".join(said[: 1 + said[0].endswith(":")])
    return first if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {first}"


def load_tokenizer(folder: str, setting: str = "student.model") -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder."""
    tokenizer: PreTrainedTokenizerBase = load(
        AutoTokenizer.from_pretrained, folder, setting, trust_remote_code=False
    )
    return tokenizer


def max_positions(folder: str, setting: str = "student.model") -> int:
    """The longest sequence that the model takes, in tokens."""
    longest = longest_sequence(load(AutoConfig.from_pretrained, folder, setting, trust_remote_code=False))
    return UNLIMITED if longest is None else longest


def check_teacher(info: ModelInfo, tokenizer: PreTrainedTokenizerBase, student_folder: str) -> None:
    """Raises ``ModelError`` unless the teacher has the student's tokenizer."""
    own = tokenizer_sha256(tokenizer.get_vocab())
    require_same_tokenizer(f"the teacher {info.model!r}", info.tokenizer_sha256, student_folder, own)


def check_lengths(
    prompts: Iterable[tuple[int, ...]], max_new_tokens: int, max_tokens: int, whose: str
) -> None:
    """Raises ``ModelError`` for the first prompt that leaves no room for the whole completion budget."""
    for number, prompt in enumerate(prompts, start=1):
        if len(prompt) + max_new_tokens > max_tokens:
            raise ModelError(
                f"prompt {number} has {len(prompt)} tokens; with student.max_new_tokens {max_new_tokens} that "
                f"is more than the {max_tokens} that {whose} takes: lower the budget, or leave the prompt out"
            )
