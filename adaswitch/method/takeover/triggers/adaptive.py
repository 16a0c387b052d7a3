"""AdaSwitch's trigger (arXiv 2510.07842): the divergence is a multiple of its recent mean."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from adaswitch.method.divergence import DivergenceName, why_unreachable
from adaswitch.method.prompt import Prompt
from adaswitch.method.switching import AdaptiveThreshold
from adaswitch.method.takeover.places import Places
from adaswitch.method.takeover.triggers.base import ThresholdTrigger


class Adaptive(ThresholdTrigger):
    """AdaSwitch (arXiv 2510.07842): where the divergence exceeds ``factor`` times its recent mean."""

    kind: Literal["adaptive"] = "adaptive"
    window: int = Field(default=10, ge=1)
    """The paper's L: the mean is that of this number of latest divergences. It fills anew after each leg of the
    teacher."""
    factor: float = Field(default=3.0, gt=0)
    """The paper's K: the threshold is this factor times the mean."""
    floor: float = Field(default=0.0, ge=0)
    """The smallest threshold, in nats. With 0 the rule is exactly the paper's."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""

    def thresholds(
        self, seen: Sequence[float], values: Sequence[float], places: Places, prompt: Prompt
    ) -> Iterator[float]:
        """See ``ThresholdTrigger``."""
        return recent_thresholds(AdaptiveThreshold(self.window, self.factor, self.floor), seen, values)

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
    def first_place(self) -> int:
        """See ``Trigger``. The mean is taken over ``window`` divergences, so no switch can come before."""
        return self.window


def recent_thresholds(
    rule: AdaptiveThreshold, seen: Sequence[float], values: Sequence[float]
) -> Iterator[float]:
    """The threshold at the place of each of ``values``, which follow those that were ``seen``."""
    recent = list(seen[max(0, len(seen) - rule.window) :])
    for value in values:
        yield rule.threshold(recent)
        recent.append(value)
