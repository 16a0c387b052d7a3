"""Checks that all replicas serve the same model. A replica that is silent at the start is checked once it answers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import PurePosixPath

from adaswitch.contract.wire import ModelInfo
from adaswitch.errors import ModelError, TeacherRejectedError, TeacherUnavailableError

FIRST_LOOK_S = 10.0
"""Seconds that each replica has, at the start, to say what it serves."""


class ReplicaSameness:
    """Knows which of ``replicas``, the addresses of a teacher, are still to be checked; a single address is not."""

    def __init__(
        self, replicas: Sequence[str], look: Callable[[str], Awaitable[tuple[ModelInfo, str]]]
    ) -> None:
        """``look`` asks one replica what it serves, and may raise ``TeacherError``."""
        self._look = look
        self._open = set(replicas) if len(replicas) > 1 else set()
        self._informant = ""
        """The address of the replica that the others are compared with, for messages."""
        self._looking = asyncio.Lock()

    def is_open(self, url: str) -> bool:
        """Whether the replica at ``url`` still has to say what it serves."""
        return url in self._open

    async def compare_all(self, info: ModelInfo, informant: str) -> None:
        """Compare all replicas with ``info``, which ``informant`` serves. Raises ``ModelError`` if one differs.

        Replicas that do not answer now are still to be checked.
        """
        self._informant = informant
        self._open.discard(informant)

        async def compare(url: str) -> None:
            """Compare one replica. It is no error if the replica does not answer in time."""
            with contextlib.suppress(TeacherUnavailableError, TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_S):
                    await self._compare(url, info)

        results = await asyncio.gather(*map(compare, sorted(self._open)), return_exceptions=True)
        for result in results:
            if result is not None:
                raise result

    async def require(self, url: str, info: ModelInfo) -> None:
        """Raises ``ModelError`` unless the replica at ``url`` serves what ``info`` says. Each replica is asked once."""
        async with self._looking:
            if url in self._open:
                await self._compare(url, info)

    async def _compare(self, url: str, info: ModelInfo) -> None:
        try:
            theirs, _ = await self._look(url)
        except TeacherRejectedError as error:
            raise ModelError(f"teacher.replicas: {url} does not say what it serves: {error}") from None
        whats = ("model", "number of tokens", "tokenizer")
        for what, own, other in zip(whats, _identity(info), _identity(theirs), strict=True):
            if own != other:
                raise ModelError(
                    f"teacher.replicas: {url} serves another {what} than {self._informant}: {other} there, {own} here; "
                    "start both with one model, or leave one of the addresses out"
                )
        self._open.discard(url)


def _identity(info: ModelInfo) -> tuple[str, int, str]:
    """What replicas must have in common. Only the last part of a model's name counts: folders differ by machine."""
    return PurePosixPath(info.model).name, info.vocab_size, info.tokenizer_sha256[:12]
