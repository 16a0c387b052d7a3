"""The ablation of AdaSwitch (arXiv 2510.07842): a fixed threshold in place of the recent mean."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.divergence import why_unreachable
from adaswitch.method.policies.base import ChunksAhead, DivergenceName, Policy
from adaswitch.method.switching import FixedThreshold

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class Threshold(Policy):
    """The ablation of the AdaSwitch paper (arXiv 2510.07842): as AdaSwitch, but with a fixed threshold."""

    kind: Literal["threshold"] = "threshold"
    tau: float = Field(ge=0)
    """The threshold, in nats: the teacher takes over where the divergence is larger. The paper tries 0.5, 1.0 and
    1.5."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""
    chunk_size: int = Field(default=32, ge=1)
    """The number of tokens that the student writes before the teacher scores them. It changes the cost, but never the
    result."""
    write_ahead: ChunksAhead = "auto"
    """The number of chunks that the student writes ahead while the teacher scores one. It changes the cost, but never
    the result: after a switch they are thrown away, and count as wasted. ``auto`` is 0 in lockstep, else 1."""

    async def roll_out(self, stages: "Stages") -> None:
        """The student explores until its divergence exceeds a fixed tau; then the teacher guides to the end."""
        if await stages.explore(FixedThreshold(self.tau), self.metric, self.chunk_size):
            await stages.guide()

    def cannot_switch(self, max_new_tokens: int, top_k: int) -> str | None:
        """See ``Policy``."""
        why = why_unreachable("policy.tau", self.tau, self.metric)
        return why or super().cannot_switch(max_new_tokens, top_k)

    @property
    def threshold_settings(self) -> str:
        """See ``Policy``."""
        return "policy.tau"
