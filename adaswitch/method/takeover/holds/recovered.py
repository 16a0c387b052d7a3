"""DASH's hold (arXiv 2607.29078): the teacher writes until the evidence of recovery has added up.

The paper is known here by its abstract only. It takes as the recovery of a teacher's turn the mean of log p(y) - log
q(y) over the tokens y of an action, normalised and accumulated, and hands back beyond a threshold of its own. Here
every token is a turn, the ratio is what it is expected to be over the teacher's own draws, KL(p || q), and recovery is
what is allowed less that divergence. It takes a look after every token of the teacher: ``until_low`` says at what cost.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.divergence import DivergenceName
from adaswitch.method.takeover.evidence import added
from adaswitch.method.takeover.holds.base import Hold

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class Recovered(Hold):
    """DASH (arXiv 2607.29078): until what the divergences stay below ``allowed`` has added up to ``recovery``."""

    kind: Literal["recovered"] = "recovered"
    recovery: float = Field(default=0.5, ge=0)
    """The teacher hands back where the evidence exceeds this number of nats."""
    allowed: float = Field(default=0.3, gt=0)
    """The divergence at a place, in nats, that is no evidence. A larger one takes from the evidence, down to 0."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""

    async def guide(self, stages: "Stages") -> None:
        """See ``Hold``."""
        evidence = 0.0
        await stages.guide(1)
        while stages.teacher_may_write:
            evidence = added(evidence, self.allowed - await stages.look(self.metric))
            if evidence > self.recovery:
                return
            await stages.guide(1)
