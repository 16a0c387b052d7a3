"""Off-policy distillation on the teacher's own text.

This is sequence-level KD (arXiv 1606.07947), but with the teacher's distributions in place of its tokens alone.
"""

from typing import TYPE_CHECKING, Literal

from adaswitch.method.policies.base import Policy

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class OffPolicy(Policy):
    """The teacher writes the whole completion."""

    kind: Literal["off_policy"] = "off_policy"

    async def roll_out(self, stages: "Stages") -> None:
        """The teacher writes the whole completion, as AdaSwitch would if it switched at the first step."""
        await stages.guide()

    @property
    def writers(self) -> frozenset[Literal["student", "other"]]:
        """See ``Policy``."""
        return frozenset({"other"})
