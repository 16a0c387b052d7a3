"""Whether all replicas of a teacher serve the same. Who does not answer at the start is asked when it first does."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import PurePosixPath

from adaswitch.contract.wire import ModelInfo
from adaswitch.errors import ModelError, TeacherRejectedError, TeacherUnavailableError

FIRST_LOOK_S = 10.0
"""How long, at the start, each replica is waited for to say what it serves."""


class ReplicaSameness:
    """Which of ``replicas``, all addresses of a teacher, have said what they serve; with one there is no question."""

    def __init__(
        self, replicas: Sequence[str], look: Callable[[str], Awaitable[tuple[ModelInfo, str]]]
    ) -> None:
        """``look`` asks one of them what it serves, and may raise ``TeacherError``."""
        self._look = look
        self._open = set(replicas) if len(replicas) > 1 else set()
        self._informant = ""
        """Who the others are compared with, for messages."""
        self._looking = asyncio.Lock()

    def is_open(self, url: str) -> bool:
        """Whether the replica at ``url`` still has to say what it serves."""
        return url in self._open

    async def compare_all(self, info: ModelInfo, informant: str) -> None:
        """With what ``informant`` says. Raises ``ModelError``; those that do not answer now stay open."""
        self._informant = informant
        self._open.discard(informant)

        async def compare(url: str) -> None:
            """One of them; who does not answer in time is no fault."""
            with contextlib.suppress(TeacherUnavailableError, TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_S):
                    await self._compare(url, info)

        results = await asyncio.gather(*map(compare, sorted(self._open)), return_exceptions=True)
        for result in results:
            if result is not None:
                raise result

    async def require(self, url: str, info: ModelInfo) -> None:
        """Raises ``ModelError`` unless the replica at ``url`` serves what ``info`` says. It is asked once."""
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
    """What replicas have in common. Of the model's name that is the last part: folders differ between machines."""
    return PurePosixPath(info.model).name, info.vocab_size, info.tokenizer_sha256[:12]
