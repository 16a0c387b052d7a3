"""DASH's trigger (arXiv 2607.29078): the evidence of drift has added up over several places.

The paper is known here by its abstract only. It speaks of an agent's turns, and takes as a turn's drift the mean of log
q(y) - log p(y) over the tokens y of an action, normalised and accumulated. Here every token is a turn, and its drift is
what that ratio is expected to be over the student's own draws, which is KL(q || p): ``metric: reverse_kl``. Normalised
means that ``allowed`` is taken off, and accumulated is a cumulative sum that never falls below 0 (``evidence``).
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from adaswitch.method.divergence import LARGEST_JSD, DivergenceName
from adaswitch.method.prompt import Prompt
from adaswitch.method.takeover.evidence import added, sum_of
from adaswitch.method.takeover.places import Places
from adaswitch.method.takeover.triggers.base import ThresholdTrigger


class Accumulated(ThresholdTrigger):
    """DASH (arXiv 2607.29078): where the divergences beyond what is allowed have added up to ``drift``."""

    kind: Literal["accumulated"] = "accumulated"
    drift: float = Field(default=3.0, ge=0)
    """The teacher takes over where the evidence exceeds this number of nats."""
    allowed: float = Field(default=0.3, ge=0)
    """The divergence at a place, in nats, that is no evidence. A smaller one takes from the evidence, down to 0."""
    metric: DivergenceName = "reverse_kl"
    """The divergence between the teacher's and the student's next-token distributions."""

    def thresholds(
        self, seen: Sequence[float], values: Sequence[float], places: Places, prompt: Prompt
    ) -> Iterator[float]:
        """See ``ThresholdTrigger``: the divergence that would bring the evidence to ``drift``."""
        evidence = sum_of(value - self.allowed for value in seen)
        for value in values:
            yield self.drift + self.allowed - evidence
            evidence = added(evidence, value - self.allowed)

    def cannot_fire(self, num_places: int, top_k: int) -> str | None:
        """See ``Trigger``: at most the largest divergence is added at each place."""
        if self.metric != "jsd" or self.drift < num_places * (LARGEST_JSD - self.allowed):
            return None
        return (
            f"drift {self.drift:g} beyond allowed {self.allowed:g} with metric jsd: no divergence is above "
            f"{LARGEST_JSD:.3g} nats, and {num_places} tokens do not add up to it"
        )

    @property
    def watched(self) -> DivergenceName:
        """See ``Trigger``."""
        return self.metric

    @property
    def levers(self) -> tuple[str, ...]:
        """See ``Trigger``."""
        return ("drift", "allowed")
