"""The two roles in a rollout as Protocols, and the objects that pass between them.

A policy uses ``Student`` and ``Teacher`` alone. It does not know of HTTP, of batching, or of where generation runs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from adaswitch.method.distribution import TopK
from adaswitch.method.prompt import Prompt


@dataclass(frozen=True)
class Chunk:
    """Tokens that a student wrote: ``token_ids [n]``, drawn from ``logprobs [n, V]`` (nats, temperature 1)."""

    token_ids: list[int]
    logprobs: Tensor


@dataclass(frozen=True)
class Continuation:
    """Tokens that a teacher wrote: ``token_ids [n]``, and the n distributions from which they were drawn."""

    token_ids: list[int]
    distributions: TopK


class Student(Protocol):
    """Writes with the student model."""

    async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
        """Up to ``num_tokens`` tokens (at least one) after ``completion``; fewer if a token ends the completion.

        Token j of a completion depends on the weights, the tokens before it, the run's seed, ``prompt.id`` and j.
        """


class Teacher(Protocol):
    """Answers for the teacher model."""

    async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
        """The distribution p_i for every token i of ``completion[start:]``, one row for each token."""

    async def generate(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Continuation:
        """Up to ``num_tokens`` tokens (at least one) after ``completion``; fewer if a token ends the completion."""


@dataclass(frozen=True)
class Budget:
    """The end of a completion: after ``max_new_tokens`` tokens, or with any of ``stop_token_ids``."""

    max_new_tokens: int
    stop_token_ids: Collection[int]
