"""SWITCH's trigger (arXiv 2410.19503): the threshold falls exponentially along the completion.

The rule is the one that summaries of the paper give, tau_t = tau_0 exp(-lambda t) on the Jensen-Shannon divergence: it
is known at second hand. There lambda is 1/10. That t counts the tokens of the completion from 0 is our reading.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from adaswitch.method.divergence import LARGEST_JSD, DivergenceName
from adaswitch.method.prompt import Prompt
from adaswitch.method.takeover.places import Places
from adaswitch.method.takeover.triggers.base import ThresholdTrigger


def decayed(tau: float, decay: float, place: int) -> float:
    """The threshold in nats at a ``place`` that is counted from 0."""
    return tau * math.exp(-decay * place)


class Decaying(ThresholdTrigger):
    """SWITCH (arXiv 2410.19503): where the divergence exceeds a threshold that falls along the completion."""

    kind: Literal["decaying"] = "decaying"
    tau: float = Field(gt=0)
    """The threshold at the first token, in nats. Above 0.693, ``jsd`` cannot exceed it before it has fallen."""
    decay: float = Field(default=0.1, gt=0)
    """The share by which the threshold falls from token to token: at token i it is ``tau`` times exp(-``decay`` i)."""
    metric: DivergenceName = "jsd"
    """The divergence between the teacher's and the student's next-token distributions."""

    def thresholds(
        self, seen: Sequence[float], values: Sequence[float], places: Places, prompt: Prompt
    ) -> Iterator[float]:
        """See ``ThresholdTrigger``."""
        return (decayed(self.tau, self.decay, places.start + index) for index in range(len(values)))

    def cannot_fire(self, num_places: int, top_k: int) -> str | None:
        """See ``Trigger``: at the last place the threshold is lowest."""
        lowest = decayed(self.tau, self.decay, num_places - 1)
        if self.metric != "jsd" or lowest < LARGEST_JSD:
            return None
        return (
            f"tau {self.tau:g} falls to {lowest:.3g} in {num_places} tokens with metric jsd: no divergence is above "
            f"{LARGEST_JSD:.3g} nats"
        )

    @property
    def watched(self) -> DivergenceName:
        """See ``Trigger``."""
        return self.metric

    @property
    def levers(self) -> tuple[str, ...]:
        """See ``Trigger``."""
        return ("tau",)
