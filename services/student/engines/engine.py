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
        """One chunk for each request. ``adaswitch.method.sampling.draw`` says which token is drawn at a position.

        The chunk's rows may be asked for from another thread, also while ``write`` runs for others. They are kept in
        whatever form costs the engine least: logits, or the final hidden states, which its head projects once more.
        """

    def forget(self, prompt_ids: Sequence[int]) -> None:
        """Drop all that is kept of these prompts, as caches and hidden states. Nobody asks for their rows any more."""

    def weights(self) -> Mapping[str, Tensor]:
        """The weights that are loaded now, by parameter name."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy new weights into the model, by parameter name. Called only when all prompts were forgotten.

        The tensors are read-only and may lie in memory that is shared, so none may be kept. Raises ``ModelError`` if
        the weights do not fit this model.
        """
