"""A leg of a fixed length. With one token it is Speculative KD's (arXiv 2410.11325), SSD's and SWITCH's."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.takeover.holds.base import Hold

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class Tokens(Hold):
    """For a number of tokens."""

    kind: Literal["tokens"] = "tokens"
    num: int = Field(default=1, ge=1)
    """The number of tokens that the teacher writes before the student goes on."""

    async def guide(self, stages: "Stages") -> None:
        """See ``Hold``."""
        await stages.guide(self.num)
