"""The interface of an engine that writes with the student model, as the worker needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk


@dataclass(frozen=True)
class WriteRequest:
    """A request to write up to ``num_tokens`` tokens after ``prompt`` and ``completion``."""

    prompt: Prompt
    completion: tuple[int, ...]
    num_tokens: int


class StudentEngine(Protocol):
    """Writes for many prompts at once. It is not thread-safe, so only one call may run at a time."""

    def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        """One chunk for each request, drawn with the random numbers that belong to the prompt and the position."""

    def forget(self, prompt_ids: Sequence[int]) -> None:
        """Drop the caches of these prompts, because the prompts are done or the weights change."""

    def weights(self) -> Mapping[str, Tensor]:
        """The weights that are loaded now, by parameter name."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load new weights by parameter name. Raises ``ModelError`` if the weights do not fit this model."""
