"""The ablation of AdaSwitch (arXiv 2510.07842), and SSD's trigger: the divergence is above a fixed threshold."""

from collections.abc import Iterator, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from adaswitch.method.divergence import DivergenceName
from adaswitch.method.prompt import Prompt
from adaswitch.method.takeover.places import Places
from adaswitch.method.takeover.triggers.base import ThresholdTrigger, require_reachable


class Fixed(ThresholdTrigger):
    """The ablation of the AdaSwitch paper (arXiv 2510.07842): where the divergence exceeds ``tau``."""

    kind: Literal["fixed"] = "fixed"
    tau: float = Field(ge=0)
    """The threshold, in nats."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions. ``jsd`` never exceeds 0.693, so
    that a larger threshold is refused."""

    def thresholds(
        self, seen: Sequence[float], values: Sequence[float], places: Places, prompt: Prompt
    ) -> Iterator[float]:
        """See ``ThresholdTrigger``."""
        return (self.tau for _ in values)

    @model_validator(mode="after")
    def _can_fire(self) -> Self:
        require_reachable("tau", self.tau, self.metric)
        return self

    @property
    def fixed_threshold(self) -> float:
        """See ``Trigger``."""
        return self.tau

    @property
    def watched(self) -> DivergenceName:
        """See ``Trigger``."""
        return self.metric

    @property
    def levers(self) -> tuple[str, ...]:
        """See ``Trigger``."""
        return ("tau",)
