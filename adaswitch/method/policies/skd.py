"""Speculative KD (arXiv 2410.11325): the student proposes tokens, and the teacher replaces the improbable ones."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.policies.base import ChunksAhead, Policy
from adaswitch.method.switching import AmongTopK

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class SKD(Policy):
    """Speculative KD (arXiv 2410.11325): the teacher replaces each token that is improbable to the teacher."""

    kind: Literal["skd"] = "skd"
    accept_top_k: int = Field(default=25, ge=1)
    """A student's token is kept if it is among this number of tokens that are most likely to the teacher."""
    chunk_size: int = Field(default=16, ge=1)
    """The number of tokens that the student proposes before the teacher scores them. It changes the cost, but never the
    result."""
    write_ahead: ChunksAhead = "auto"
    """The number of chunks that the student writes ahead while the teacher scores one. It changes the cost, but never
    the result: after a switch they are thrown away, and count as wasted. ``auto`` is 0 in lockstep, else 1."""

    async def roll_out(self, stages: "Stages") -> None:
        """The teacher replaces each token that is not among its top-k, and the student goes on after that token."""
        await stages.take_turns(AmongTopK(self.accept_top_k), self.chunk_size, guide_tokens=1)

    @property
    def hands_back(self) -> bool:
        """See ``Policy``."""
        return True

    @property
    def accepted_candidates(self) -> int:
        """See ``Policy``."""
        return self.accept_top_k
