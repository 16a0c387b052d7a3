"""Ours, not from a paper: one threshold for all rollouts of a step, from the divergences of the steps before."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from adaswitch.method.divergence import DivergenceName, why_unreachable
from adaswitch.method.prompt import Prompt
from adaswitch.method.switching import SharedScaleThreshold
from adaswitch.method.takeover.places import Places
from adaswitch.method.takeover.triggers.base import ThresholdTrigger


class SharedScale(ThresholdTrigger):
    """Ours, not from a paper: where the divergence exceeds a multiple of the mean of all rollouts of the last steps."""

    kind: Literal["shared_scale"] = "shared_scale"
    factor: float = Field(default=10.0, gt=0)
    """The threshold is this factor times the scale, which is the mean divergence of the last ``window_steps`` steps."""
    window_steps: int = Field(default=8, ge=1)
    """The number of optimizer steps whose mean divergence is the scale. Nothing switches until one step is recorded."""
    floor: float = Field(default=0.0, ge=0)
    """The smallest threshold, in nats."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""

    def thresholds(
        self, seen: Sequence[float], values: Sequence[float], places: Places, prompt: Prompt
    ) -> Iterator[float]:
        """See ``ThresholdTrigger``."""
        rule = SharedScaleThreshold(self.factor, prompt.divergence_scale, self.floor)
        return (rule.threshold(()) for _ in values)

    def cannot_fire(self, num_places: int, top_k: int) -> str | None:
        """See ``Trigger``."""
        return why_unreachable("floor", self.floor, self.metric)

    @property
    def watched(self) -> DivergenceName:
        """See ``Trigger``."""
        return self.metric

    @property
    def levers(self) -> tuple[str, ...]:
        """See ``Trigger``."""
        return ("factor", "floor")

    @property
    def follows_mean(self) -> bool:
        """See ``Trigger``."""
        return True

    @property
    def scale_steps(self) -> int:
        """See ``Trigger``."""
        return self.window_steps
