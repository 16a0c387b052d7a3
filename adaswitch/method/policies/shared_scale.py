"""Ours, not from a paper: AdaSwitch with one scale for the thresholds of all rollouts of a step."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.divergence import why_unreachable
from adaswitch.method.policies.base import ChunksAhead, DivergenceName, Policy
from adaswitch.method.switching import SharedScaleThreshold

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class SharedScale(Policy):
    """Ours, not from a paper: as AdaSwitch, but the threshold uses the mean over all rollouts of the last steps."""

    kind: Literal["shared_scale"] = "shared_scale"
    factor: float = Field(default=10.0, gt=0)
    """The threshold is this factor times the scale, which is the mean divergence of the last ``window_steps`` steps."""
    window_steps: int = Field(default=8, ge=1)
    """The number of optimizer steps whose mean divergence is the scale. Nothing switches until one step is recorded."""
    floor: float = Field(default=0.0, ge=0)
    """The smallest threshold, in nats."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""
    chunk_size: int = Field(default=32, ge=1)
    """The number of tokens that the student writes before the teacher scores them. It changes the cost, but never the
    result."""
    write_ahead: ChunksAhead = "auto"
    """The number of chunks that the student writes ahead while the teacher scores one. It changes the cost, but never
    the result: after a switch they are thrown away, and count as wasted. ``auto`` is 0 in lockstep, else 1."""

    async def roll_out(self, stages: "Stages") -> None:
        """As AdaSwitch, with a threshold from the scale that the prompt carries and that its whole step shares."""
        rule = SharedScaleThreshold(self.factor, stages.prompt.divergence_scale, self.floor)
        if await stages.explore(rule, self.metric, self.chunk_size):
            await stages.guide()

    def cannot_switch(self, max_new_tokens: int, top_k: int) -> str | None:
        """See ``Policy``."""
        why = why_unreachable("policy.floor", self.floor, self.metric)
        return why or super().cannot_switch(max_new_tokens, top_k)

    @property
    def threshold_settings(self) -> str:
        """See ``Policy``."""
        return "policy.factor or policy.floor"

    @property
    def threshold_follows_mean(self) -> bool:
        """See ``Policy``. The mean is that of the last steps."""
        return True

    @property
    def scale_steps(self) -> int:
        """See ``Policy``."""
        return self.window_steps
