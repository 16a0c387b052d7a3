"""The interfaces of the engines that write with the student model, as the worker needs them."""

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from torch import Tensor

from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk


@dataclass(frozen=True)
class Sampling:
    """How the student writes: the run's seed, the temperature, and the tokens that end a completion."""

    seed: int
    temperature: float
    stop_token_ids: Collection[int]


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
        """The weights that are loaded now, by parameter name.

        They are looked at to explain a number that is not finite. An engine that has them in other forms gives the
        smallest and the largest value of each.
        """

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy new weights into the model, by parameter name. Called only when all prompts were forgotten.

        The tensors are read-only and may lie in memory that is shared, so none may be kept. Raises ``ModelError`` if
        the weights do not fit this model.
        """


class ContinuousEngine(Protocol):
    """An engine that batches by itself: requests come and go at any time.

    It belongs to no event loop, and ``forget`` may be called at any time and from any thread. All calls count in the
    order in which they were made.
    """

    async def write(self, request: WriteRequest) -> Chunk:
        """One chunk; see ``StudentEngine.write``. If the call is cancelled, so is what is being written.

        Raises ``StudentLostError`` once the engine has died.
        """

    def forget(self, prompt_ids: Sequence[int]) -> None:
        """See ``StudentEngine.forget``. What is being written for these prompts is cancelled. Returns at once."""

    def weights(self) -> Mapping[str, Tensor]:
        """See ``StudentEngine.weights``."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """See ``StudentEngine.load_weights``. Blocks until they are loaded."""

    def close(self) -> None:
        """Free the engine's memory and end its thread. Nothing is answered any more."""


def batches_by_itself(engine: StudentEngine | ContinuousEngine) -> TypeGuard[ContinuousEngine]:
    """Whether ``engine`` takes requests one by one, at any time."""
    return inspect.iscoroutinefunction(engine.write)
