"""Splits a call with many sequences into several requests, each within the limits that the teacher names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from adaswitch.contract.wire import GeneratePrompt, ModelInfo, ScoreSequence

Item = TypeVar("Item")


@dataclass(frozen=True)
class Size:
    """What one sequence takes of a request: its tokens, and the rows that the service keeps memory for."""

    num_tokens: int
    num_rows: int


def score_parts(sequences: Sequence[ScoreSequence], top_k: int, info: ModelInfo) -> list[list[ScoreSequence]]:
    """``sequences`` in their order, in as few requests as ``info`` allows."""
    return _split(sequences, lambda s: Size(len(s.token_ids), len(s.token_ids)), top_k, info)


def generate_parts(
    prompts: Sequence[GeneratePrompt], top_k: int, info: ModelInfo
) -> list[list[GeneratePrompt]]:
    """``prompts`` in their order, in as few requests as ``info`` allows."""
    return _split(prompts, lambda p: Size(len(p.token_ids) + p.max_tokens, p.max_tokens), top_k, info)


def _split(
    items: Sequence[Item], size_of: Callable[[Item], Size], top_k: int, info: ModelInfo
) -> list[list[Item]]:
    """``items`` in order, as parts. An item that is too large goes alone: the service says what is wrong with it."""
    parts: list[list[Item]] = []
    num_tokens = num_rows = 0
    for item in items:
        size = size_of(item)
        num_tokens += size.num_tokens
        num_rows += size.num_rows
        if not parts or not _fits(len(parts[-1]) + 1, num_tokens, num_rows * (top_k + 1), info):
            parts.append([])
            num_tokens, num_rows = size.num_tokens, size.num_rows
        parts[-1].append(item)
    return parts


def _fits(num_sequences: int, num_tokens: int, num_logprobs: int, info: ModelInfo) -> bool:
    within_memory = info.max_request_logprobs is None or num_logprobs <= info.max_request_logprobs
    return (
        num_sequences <= info.max_request_sequences
        and num_tokens <= info.max_request_tokens
        and within_memory
    )
