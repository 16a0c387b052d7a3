"""DASH (arXiv 2607.29078): the pen goes over, and back, once the evidence for it has added up.

The paper is known here by its abstract only, and is about an agent's turns; see
``adaswitch.method.takeover.triggers.accumulated`` and ``adaswitch.method.takeover.holds.recovered`` for what is ours.
"""

from typing import Literal

from pydantic import Field

from adaswitch.method.policies.taking_over import TakeOverPolicy
from adaswitch.method.takeover.cuts.at_crossing import AtCrossing
from adaswitch.method.takeover.holds.recovered import Recovered
from adaswitch.method.takeover.take_over import Ways
from adaswitch.method.takeover.triggers.accumulated import Accumulated


class DASH(TakeOverPolicy):
    """DASH (arXiv 2607.29078): the teacher takes over, and hands back, once the evidence for it has added up."""

    kind: Literal["dash"] = "dash"
    drift: float = Field(default=3.0, ge=0)
    """The teacher takes over where the evidence of drift, from the reverse KL, exceeds this number of nats."""
    recovery: float = Field(default=0.5, ge=0)
    """The teacher hands back where the evidence of recovery, from the forward KL, exceeds this number of nats."""
    allowed: float = Field(default=0.3, gt=0)
    """The divergence, in nats, that is evidence of neither. What is above it is drift, what is below is recovery."""

    def ways(self) -> Ways:
        """See ``TakeOverPolicy``."""
        return Ways(
            Accumulated(drift=self.drift, allowed=self.allowed),
            Recovered(recovery=self.recovery, allowed=self.allowed),
            AtCrossing(),
        )
