"""``Writer``: who writes the completions that an evaluation marks, as the evaluation needs it."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Unwritten:
    """A completion that is to be written."""

    prompt_token_ids: Sequence[int]
    noise_id: int
    """A number of 64 bits to which the noise of its draws belongs."""


@dataclass(frozen=True)
class Rules:
    """How all completions of an evaluation are written."""

    temperature: float
    """0 takes the most likely token each time."""
    seed: int
    stop_token_ids: tuple[int, ...]
    max_new_tokens: int
    vocab_size: int
    """V: ids from V on are padding of the embedding, and can never be drawn."""
    batch_size: int
    """The number of completions that are written together, by a writer that does not batch by itself."""


Written = list[tuple[int, list[int]]]
"""Completions by their place among those asked for, each up to and including the token that ends it."""


class Writer(Protocol):
    """Writes completions. Which tokens are drawn follows from the weights, the rules and each ``noise_id`` alone."""

    def write(self, texts: Sequence[Unwritten], rules: Rules) -> Generator[Written, None, None]:
        """Yield completions as they are done, in any order.

        What is yielded may be empty, so that whoever asks gets to look whether to go on. Closing the generator gives up
        what is not written. Raises ``NonFiniteError`` for logits from which no token can be chosen.
        """
