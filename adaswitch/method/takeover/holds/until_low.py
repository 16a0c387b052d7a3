"""The teacher writes until the divergence is low again, which is looked at as it goes.

Nothing tells how far the student would diverge on the teacher's text, except the student itself. So after every few
tokens of the teacher the student writes one token more, which the teacher scores: one student token and one scored
position for each look. The token is thrown away.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from adaswitch.method.divergence import DivergenceName
from adaswitch.method.takeover.holds.base import Hold
from adaswitch.method.takeover.triggers.base import require_reachable

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class UntilLow(Hold):
    """Until the divergence is low again."""

    kind: Literal["until_low"] = "until_low"
    tau: float = Field(ge=0)
    """The teacher hands back where the divergence is this number of nats or less."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""
    step_tokens: int = Field(default=1, ge=1)
    """The number of tokens that the teacher writes between two looks at the divergence. Fewer looks cost less, and the
    teacher may write more than it must."""

    async def guide(self, stages: "Stages") -> None:
        """See ``Hold``."""
        await stages.guide(self.step_tokens)
        while stages.teacher_may_write and await stages.look(self.metric) > self.tau:
            await stages.guide(self.step_tokens)

    @model_validator(mode="after")
    def _can_keep(self) -> Self:
        require_reachable("tau", self.tau, self.metric)
        return self
