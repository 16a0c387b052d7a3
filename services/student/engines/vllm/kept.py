"""The hidden states that a chunk's distributions follow from, and the bound on the memory for all of them."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future

from torch import Tensor

MAX_KEPT_BYTES = 2**30
"""The most memory for the states of all chunks that are written, or wait for their scores."""


class Memory:
    """Counts the rows that are kept. It may be asked from any thread, as Python frees a chunk in any."""

    def __init__(self, max_rows: int) -> None:
        """``max_rows`` are kept at most, beside one for each request that would get none otherwise."""
        self._max_rows = max_rows
        self._num_rows = 0
        self._lock = threading.Lock()

    @property
    def num_rows(self) -> int:
        """The rows that are kept now, or promised to requests under way."""
        return self._num_rows

    def take(self, num_rows: int) -> int:
        """Take as many of ``num_rows`` as there is room for, and at least one. Returns how many were taken."""
        with self._lock:
            taken = max(1, min(num_rows, self._max_rows - self._num_rows))
            self._num_rows += taken
            return taken

    def give_back(self, num_rows: int) -> None:
        """Free ``num_rows`` that were taken."""
        with self._lock:
            self._num_rows -= num_rows


Project = Callable[[Tensor, Tensor], "Future[Tensor]"]
"""Turns states ``[n, d]`` and candidates ``[n, k]`` into log-probabilities ``[n, k + 1]``, in the engine's thread."""


class KeptStates:
    """A ``KeptRows`` of final hidden states ``[n, d]``, which the model's own head projects once more.

    They take d numbers a token instead of V. ``memory`` gets its rows back when the states are dropped, or when the
    last reference to this object goes.
    """

    def __init__(self, states: Tensor, memory: Memory, project: Project) -> None:
        self.states: Tensor | None = states
        self._num_rows = len(states)
        self._project = project
        self._give_back = weakref.finalize(self, memory.give_back, len(states))
        self._give_back.atexit = False

    async def outcomes(self, ids: Tensor) -> Tensor:
        """See ``KeptRows``. Raises ``ValueError`` as well if the prompt was forgotten."""
        if len(ids) != self._num_rows:
            raise ValueError(f"candidates of {len(ids)} tokens, for {self._num_rows} distributions")
        return await asyncio.wrap_future(self._project(self._states(), ids))

    def are_finite(self) -> bool:
        """Whether a token was drawn from finite logits at each position. Raises ``ValueError`` as ``outcomes`` does."""
        return bool(self._states().isfinite().all())

    def _states(self) -> Tensor:
        if self.states is None:
            raise ValueError("the prompt was forgotten, and its distributions with it")
        return self.states

    def drop(self) -> None:
        """Free the states. Nobody asks for them any more."""
        self.states = None
        self._give_back()
