"""The two roles in a rollout, as Protocols, and what passes between them.

A policy is written against ``Student`` and ``Teacher`` alone: it does not know of HTTP, of batching or of where
generation runs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from adaswitch.method.distribution import TopK
from adaswitch.method.prompt import Prompt


@dataclass(frozen=True)
class Chunk:
    """What a student wrote: ``token_ids [n]``, drawn from ``logprobs [n, V]`` (nats, temperature 1)."""

    token_ids: list[int]
    logprobs: Tensor


@dataclass(frozen=True)
class Continuation:
    """What a teacher wrote: ``token_ids [n]``, and the n distributions that they were drawn from."""

    token_ids: list[int]
    distributions: TopK


class Student(Protocol):
    """Writes with the student model."""

    async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
        """Up to ``num_tokens`` tokens (at least one) after ``completion``, fewer if one ends it.

        Token j of a completion depends on the weights, what is before it, the run's seed, ``prompt.id`` and j.
        """


class Teacher(Protocol):
    """Answers for the teacher model."""

    async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
        """p_i for every i of ``completion[start:]``: that many rows."""

    async def generate(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Continuation:
        """Up to ``num_tokens`` tokens (at least one) after ``completion``, fewer if one ends it."""


@dataclass(frozen=True)
class Budget:
    """When a completion is over: after ``max_new_tokens``, or with one of ``stop_token_ids``."""

    max_new_tokens: int
    stop_token_ids: Collection[int]
