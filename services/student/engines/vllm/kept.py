"""What a chunk's distributions follow from, and the bound on the memory for all of it.

That is each token's logits while there is room for them. They take V numbers a token. A token's final hidden state
takes d numbers, a hundredth of that, but the model's head has to project it once more. On a CPU that is a sixth of the
whole work for a token.
"""

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future

from torch import Tensor

MAX_KEPT_BYTES = 2**30
"""The most memory for the states of all chunks that are written, or wait for their scores, and as much for logits."""


class Memory:
    """Counts the rows that are kept. It may be asked from any thread, as Python frees a chunk in any."""

    def __init__(self, max_rows: int) -> None:
        """``max_rows`` are kept at most, beside one for each request that ``take`` would give none otherwise."""
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

    def take_all(self, num_rows: int) -> bool:
        """Take ``num_rows`` if there is room for all of them, and else none. Returns whether they were taken."""
        with self._lock:
            has_room = self._num_rows + num_rows <= self._max_rows
            if has_room:
                self._num_rows += num_rows
            return has_room

    def give_back(self, num_rows: int) -> None:
        """Free ``num_rows`` that were taken."""
        with self._lock:
            self._num_rows -= num_rows


Project = Callable[[Tensor, Tensor], "Future[Tensor]"]
"""Turns rows ``[n, V or d]`` and candidates ``[n, k]`` into log-probabilities ``[n, k + 1]``, in another thread."""


class BoundedRows:
    """A ``KeptRows`` of logits ``[n, V]`` or of final hidden states ``[n, d]``, whichever ``project`` knows.

    ``memory`` gets its rows back when they are dropped, or when the last reference to this object goes.
    """

    def __init__(self, rows: Tensor, memory: Memory, project: Project) -> None:
        self._rows: Tensor | None = rows
        self._num_rows = len(rows)
        self._project = project
        self._give_back = weakref.finalize(self, memory.give_back, len(rows))
        self._give_back.atexit = False

    async def outcomes(self, ids: Tensor) -> Tensor:
        """See ``KeptRows``. Raises ``ValueError`` as well if the prompt was forgotten."""
        if len(ids) != self._num_rows:
            raise ValueError(f"candidates of {len(ids)} tokens, for {self._num_rows} distributions")
        return await asyncio.wrap_future(self._project(self._held(), ids))

    def are_finite(self) -> bool:
        """Whether a token was drawn from finite logits at each position. Raises ``ValueError`` as ``outcomes`` does."""
        # A row is NaN throughout if its token was not. A logit of minus infinity is allowed: no such token is drawn.
        return not bool(self._held()[:, 0].isnan().any())

    def _held(self) -> Tensor:
        if self._rows is None:
            raise ValueError("the prompt was forgotten, and its distributions with it")
        return self._rows

    def drop(self) -> None:
        """Free the rows. Nobody asks for them any more."""
        self._rows = None
        self._give_back()
