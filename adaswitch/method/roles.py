"""The two roles in a rollout as Protocols, and the objects that pass between them.

A policy uses ``Student`` and ``Teacher`` alone. It does not know of HTTP, of batching, or of where generation runs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from adaswitch.method.distribution import TopK
from adaswitch.method.prompt import Prompt


class KeptRows(Protocol):
    """The student's own n distributions, at temperature 1, from which a chunk's tokens were drawn.

    They are kept in the form in which the engine has them, and looked at once the teacher's candidates are known. All
    V log-probabilities of a token would take a hundred times the memory that a divergence needs.
    """

    async def outcomes(self, ids: Tensor) -> Tensor:
        """The log-probabilities ``[n, k + 1]`` of the candidates ``ids [n, k]``, with that of all other tokens last.

        The ids of a row are distinct. The last column is a log-sum-exp over the other tokens, never ``log(1 - sum)``.
        Raises ``ValueError`` unless there are n rows of ids.
        """


@dataclass(frozen=True)
class Chunk:
    """Tokens that a student wrote: ``token_ids [n]``, and the n distributions from which they were drawn.

    The distributions may be asked for until the engine forgets the prompt. They are freed then, or with the chunk.
    """

    token_ids: list[int]
    rows: KeptRows


@dataclass(frozen=True)
class Continuation:
    """Tokens that a teacher wrote: ``token_ids [n]``, and the n distributions from which they were drawn."""

    token_ids: list[int]
    distributions: TopK


class Student(Protocol):
    """Writes with the student model."""

    async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
        """Up to ``num_tokens`` tokens (at least one) after ``completion``.

        They are fewer if a token ends the completion, or if no more distributions can be kept at a time. Token j of a
        completion depends on the weights, the tokens before it, the run's seed, ``prompt.id`` and j. A call that is
        cancelled gives up what it was writing; the next call may be for another completion of the prompt.
        """


class Teacher(Protocol):
    """Answers for the teacher model."""

    async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
        """The distribution p_i for every token i of ``completion[start:]``, one row for each token."""

    async def generate(
        self, prompt: Prompt, completion: Sequence[int], num_tokens: int, end_token_ids: Collection[int] = ()
    ) -> Continuation:
        """Up to ``num_tokens`` tokens (at least one) after ``completion``.

        They are fewer if a token ends the completion, or with any of ``end_token_ids``, which is the last then.
        """


@dataclass(frozen=True)
class Budget:
    """The end of a completion: after ``max_new_tokens`` tokens, or with any of ``stop_token_ids``."""

    max_new_tokens: int
    stop_token_ids: Collection[int]

    def ends(self, token_ids: Sequence[int]) -> bool:
        """Whether a completion of ``token_ids`` is over."""
        return len(token_ids) >= self.max_new_tokens or self.stops(token_ids)

    def stops(self, token_ids: Sequence[int]) -> bool:
        """Whether the last of ``token_ids`` is a token that ends a completion."""
        return bool(token_ids) and token_ids[-1] in self.stop_token_ids
