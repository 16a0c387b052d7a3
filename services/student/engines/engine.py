"""What the worker needs of an engine that writes with the student model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk


@dataclass(frozen=True)
class WriteRequest:
    """Write up to ``num_tokens`` tokens after ``prompt`` and ``completion``."""

    prompt: Prompt
    completion: tuple[int, ...]
    num_tokens: int


class StudentEngine(Protocol):
    """Writes for many prompts at once. Not thread-safe: one call at a time."""

    def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        """One chunk a request, by the random numbers that belong to the prompt and the position."""

    def forget(self, prompt_ids: Sequence[int]) -> None:
        """Drop what is cached for these prompts: they are done, or the weights change."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over new weights, by parameter name. Raises ``ModelError`` if they are not this model's."""
