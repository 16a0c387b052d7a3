"""``Chunks``: what the student writes in an exploration, chunk by chunk, the next ones while the last is scored.

What is written ahead is right as long as the teacher does not take over. If the teacher does, it is thrown away.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from adaswitch.method.draft import RolloutDraft
from adaswitch.method.roles import Chunk, Student


class Chunks:
    """The student's chunks after the tokens of ``draft``. What was written ahead is given up where ``async with`` ends.

    It counts as wasted then. An error of what was written ahead is raised by ``take``, or where ``async with`` ends.
    """

    def __init__(
        self, student: Student, draft: RolloutDraft, size: int, num_ahead: int, last_place: int | None = None
    ) -> None:
        """Chunks of up to ``size`` tokens, ``num_ahead`` of them ahead of the last that was taken.

        ``last_place`` is the place of a switch that is certain: what stands behind it is not written ahead.
        """
        self._student = student
        self._draft = draft
        self._size = size
        self._num_ahead = num_ahead
        self._last_place = last_place
        self._token_ids = list(draft.token_ids)  # with the tokens of all chunks so far, taken or not
        self._ahead: deque[asyncio.Task[Chunk | None]] = deque()
        self._pen = asyncio.Lock()
        self._num_asked = 0  # the tokens that the student has been asked for, and has not given

    async def take(self) -> Chunk:
        """The next chunk. The chunks after it are written ahead from now on."""
        chunk = await self._ahead.popleft() if self._ahead else None
        if chunk is None:
            chunk = await self._write()
        while len(self._ahead) < self._num_ahead:
            self._ahead.append(asyncio.create_task(self._write_ahead()))
        return chunk

    async def _write_ahead(self) -> Chunk | None:
        """The chunk after those so far, once they are there; None if nothing is needed after them, or if one failed."""
        async with self._pen:
            return None if self._is_enough or self._num_asked else await self._write()

    async def _write(self) -> Chunk:
        self._num_asked = min(self._size, self._draft.budget.max_new_tokens - len(self._token_ids))
        chunk = await self._student.write(self._draft.prompt, tuple(self._token_ids), self._num_asked)
        self._num_asked = 0
        self._token_ids += chunk.token_ids
        return chunk

    @property
    def _is_enough(self) -> bool:
        over = self._draft.budget.ends(self._token_ids)
        return over or (self._last_place is not None and self._last_place < len(self._token_ids))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        for task in self._ahead:
            task.cancel()
        results = await asyncio.gather(*self._ahead, return_exceptions=True)
        num_whole = sum(len(result.token_ids) for result in results if isinstance(result, Chunk))
        # How much the student had written of a chunk that is given up is not known, so it counts as it was asked for.
        self._draft.add_unused(num_whole + self._num_asked)
        for failure in results:
            if isinstance(failure, Exception) and error is None:
                raise failure
            if isinstance(failure, Exception) and error is not None and failure is not error:
                error.add_note(f"what was written ahead failed as well: {failure!r}")
