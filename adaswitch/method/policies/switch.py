"""SWITCH (arXiv 2410.19503): one token of the teacher's wherever the divergence exceeds a threshold that falls.

The rule is known here from summaries of the paper; see ``adaswitch.method.takeover.triggers.decaying``.
"""

from typing import Literal

from pydantic import Field

from adaswitch.method.divergence import DivergenceName
from adaswitch.method.policies.taking_over import TakeOverPolicy
from adaswitch.method.takeover.cuts.at_crossing import AtCrossing
from adaswitch.method.takeover.holds.tokens import Tokens
from adaswitch.method.takeover.take_over import Ways
from adaswitch.method.takeover.triggers.decaying import Decaying


class Switch(TakeOverPolicy):
    """SWITCH (arXiv 2410.19503): one token of the teacher's wherever the divergence exceeds a falling threshold."""

    kind: Literal["switch"] = "switch"
    tau: float = Field(gt=0)
    """The threshold at the first token, in nats."""
    decay: float = Field(default=0.1, gt=0)
    """The share by which the threshold falls from token to token: at token i it is ``tau`` times exp(-``decay`` i)."""
    metric: DivergenceName = "jsd"
    """The divergence between the teacher's and the student's next-token distributions."""

    def ways(self) -> Ways:
        """See ``TakeOverPolicy``."""
        trigger = Decaying(tau=self.tau, decay=self.decay, metric=self.metric)
        return Ways(trigger, Tokens(num=1), AtCrossing())
