"""Ours, not from a paper: the divergence is large beside the teacher's own entropy at the same place.

Where the teacher itself is in two minds, a student that leans the other way has not strayed. Where the teacher is sure,
a small divergence may already be an error. So the threshold at a place follows from the teacher's distribution there.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from adaswitch.method.divergence import DivergenceName, why_unreachable
from adaswitch.method.prompt import Prompt
from adaswitch.method.takeover.places import Places
from adaswitch.method.takeover.triggers.base import ThresholdTrigger


class OverEntropy(ThresholdTrigger):
    """Ours, not from a paper: where the divergence exceeds ``factor`` times the teacher's entropy at the place."""

    kind: Literal["over_entropy"] = "over_entropy"
    factor: float = Field(default=1.0, gt=0)
    """The threshold is this factor times the teacher's entropy, taken over its candidates and the tail."""
    floor: float = Field(default=0.1, ge=0)
    """The smallest threshold, in nats. With 0 a teacher that is wholly sure takes over at any difference."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""

    def thresholds(
        self, seen: Sequence[float], values: Sequence[float], places: Places, prompt: Prompt
    ) -> Iterator[float]:
        """See ``ThresholdTrigger``."""
        return (max(self.factor * entropy, self.floor) for entropy in places.entropies)

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
