"""MOTAB's trigger (arXiv 2605.19433): the teacher is unsure how to go on, by its own measure of late.

On a text that has gone astray the teacher's distribution flattens, which is what the paper watches, with a boundary
that adapts. Its exact form is known here at second hand only: the recent mean is ours, after AdaSwitch's.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from adaswitch.method.prompt import Prompt
from adaswitch.method.switching import AdaptiveThreshold
from adaswitch.method.takeover.places import Places
from adaswitch.method.takeover.triggers.adaptive import recent_thresholds
from adaswitch.method.takeover.triggers.base import ThresholdTrigger


class Unsure(ThresholdTrigger):
    """MOTAB (arXiv 2605.19433): where the teacher's entropy exceeds ``factor`` times its recent mean."""

    kind: Literal["unsure"] = "unsure"
    window: int = Field(default=10, ge=1)
    """The number of latest places whose mean entropy counts. It fills anew after each leg of the teacher."""
    factor: float = Field(default=3.0, gt=0)
    """The threshold is this factor times the mean."""
    floor: float = Field(default=0.0, ge=0)
    """The smallest threshold, in nats."""

    def values(self, places: Places) -> Sequence[float]:
        """See ``ThresholdTrigger``. These are the teacher's entropies."""
        return places.entropies

    def thresholds(
        self, seen: Sequence[float], values: Sequence[float], places: Places, prompt: Prompt
    ) -> Iterator[float]:
        """See ``ThresholdTrigger``."""
        return recent_thresholds(AdaptiveThreshold(self.window, self.factor, self.floor), seen, values)

    def cannot_fire(self, num_places: int, top_k: int) -> str | None:
        """See ``Trigger``: the entropy of k candidates and the tail has a largest value."""
        largest = math.log(top_k + 1)
        if self.floor < largest:
            return None
        return f"floor {self.floor:g} with teacher.top_k {top_k}: no entropy is above {largest:.3g} nats"

    @property
    def measures_divergences(self) -> bool:
        """See ``ThresholdTrigger``."""
        return False

    @property
    def levers(self) -> tuple[str, ...]:
        """See ``Trigger``."""
        return ("factor", "floor")

    @property
    def first_place(self) -> int:
        """See ``Trigger``. The mean is taken over ``window`` entropies, so no switch can come before."""
        return self.window
