"""SSD: the teacher writes one token wherever the two models differ too much.

It is known here at second hand only, as a baseline of the papers on switching: one token of the teacher's wherever the
Jensen-Shannon divergence exceeds a threshold.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from adaswitch.method.divergence import DivergenceName
from adaswitch.method.policies.taking_over import TakeOverPolicy
from adaswitch.method.takeover.cuts.at_crossing import AtCrossing
from adaswitch.method.takeover.holds.tokens import Tokens
from adaswitch.method.takeover.take_over import Ways
from adaswitch.method.takeover.triggers.base import require_reachable
from adaswitch.method.takeover.triggers.fixed import Fixed


class SSD(TakeOverPolicy):
    """SSD, known at second hand: one token of the teacher's wherever the divergence exceeds ``tau``."""

    kind: Literal["ssd"] = "ssd"
    tau: float = Field(ge=0)
    """The threshold, in nats."""
    metric: DivergenceName = "jsd"
    """The divergence between the teacher's and the student's next-token distributions."""

    def ways(self) -> Ways:
        """See ``TakeOverPolicy``."""
        return Ways(Fixed(tau=self.tau, metric=self.metric), Tokens(num=1), AtCrossing())

    @model_validator(mode="after")
    def _can_fire(self) -> Self:
        require_reachable("tau", self.tau, self.metric)
        return self
