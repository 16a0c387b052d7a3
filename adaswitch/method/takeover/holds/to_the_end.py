"""AdaSwitch's hold (arXiv 2510.07842): the teacher writes to the end, and never hands back."""

from typing import TYPE_CHECKING, ClassVar, Literal

from adaswitch.method.takeover.holds.base import Hold

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class ToTheEnd(Hold):
    """AdaSwitch (arXiv 2510.07842): to the end of the completion."""

    kind: Literal["to_the_end"] = "to_the_end"
    hands_back: ClassVar[bool] = False

    async def guide(self, stages: "Stages") -> None:
        """See ``Hold``."""
        await stages.guide()
