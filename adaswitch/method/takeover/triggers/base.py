"""``Trigger``: the base of the rules that say when the teacher takes over.

A trigger judges places one after the other. What it says of a place depends on the places before it in the same
stretch, on what both models say at that place, and on the student's token there: never on what comes later. Only so is
it correct to look at a whole chunk at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

from adaswitch.config.base import Settings
from adaswitch.method.divergence import DivergenceName, why_unreachable
from adaswitch.method.prompt import Prompt
from adaswitch.method.takeover.marks import Texts
from adaswitch.method.takeover.places import Places, Verdict


def require_reachable(name: str, tau: float, metric: str) -> None:
    """Raises ``ValueError`` if no divergence of ``metric`` ever exceeds ``tau``."""
    if (why := why_unreachable(name, tau, metric)) is not None:
        raise ValueError(f"{why}: lower it")


class Trigger(Settings, ABC):
    """When the teacher takes over. The fields of a subclass are its settings, under ``policy.trigger``."""

    needs_texts: ClassVar[bool] = False
    """Whether the trigger names tokens by their texts, and so must be ``bound``."""

    @abstractmethod
    async def judge(self, seen: Sequence[float], places: Places, prompt: Prompt) -> Verdict:
        """Where among ``places`` the teacher takes over. ``seen`` are the values of the stretch's earlier places."""

    def check(self) -> None:
        """Raises ``ConfigError`` for settings that cannot be used. Called before a run; may import a user's code."""

    def ready(self) -> Self:
        """The trigger as one rollout uses it."""
        return self

    def bound(self, texts: Texts, where: str) -> Self:
        """The trigger for a tokenizer of these ``texts``. ``where`` is the group of its settings, for messages.

        Raises ``ConfigError`` if the tokenizer has none of the tokens that the trigger names.
        """
        return self

    @property
    def name(self) -> str:
        """The kind, for messages."""
        return str(getattr(self, "kind", type(self).__name__))

    @property
    def watched(self) -> DivergenceName:
        """The divergence that is taken, and recorded, at each place."""
        return "forward_kl"

    @property
    def fixed_threshold(self) -> float | None:
        """The threshold in nats that holds at every place; None if it differs from place to place."""
        return None

    @property
    def has_threshold(self) -> bool:
        """Whether the trigger compares what it measures with a threshold."""
        return True

    @property
    def levers(self) -> tuple[str, ...]:
        """The settings that raise the threshold, by name; empty without any."""
        return ()

    def cannot_fire(self, num_places: int, top_k: int) -> str | None:
        """Why the trigger never fires at ``num_places`` places, beginning with its setting; None if it may.

        ``top_k`` is the number of candidates in each of the teacher's distributions.
        """
        return None

    @property
    def follows_mean(self) -> bool:
        """Whether the threshold is a multiple of the divergences' own mean; see ``threshold_follows_mean``."""
        return False

    @property
    def first_place(self) -> int:
        """The first place of a stretch, counted from 0, where the trigger can fire."""
        return 0

    @property
    def looked_among(self) -> tuple[str, int] | None:
        """The name and the value of the setting that says among how many candidates a token is looked for; or None."""
        return None

    @property
    def scale_steps(self) -> int | None:
        """See ``adaswitch.method.policies.base.Policy``."""
        return None


class ThresholdTrigger(Trigger):
    """A trigger that fires where a value in nats is above a threshold in nats."""

    async def judge(self, seen: Sequence[float], places: Places, prompt: Prompt) -> Verdict:
        """See ``Trigger``."""
        values = self.values(places)
        thresholds: list[float] = []
        for index, threshold in enumerate(self.thresholds(seen, values, places, prompt)):
            thresholds.append(threshold)
            if values[index] > threshold:
                return Verdict(index, values[: index + 1], thresholds, self.measures_divergences)
        return Verdict(None, values, thresholds, self.measures_divergences)

    @property
    def measures_divergences(self) -> bool:
        """Whether the values are the divergences."""
        return True

    def values(self, places: Places) -> Sequence[float]:
        """What is measured at each of ``places``."""
        return places.divergences

    @abstractmethod
    def thresholds(
        self, seen: Sequence[float], values: Sequence[float], places: Places, prompt: Prompt
    ) -> Iterator[float]:
        """One threshold for each of ``places``: that of place i from ``seen`` and ``values[:i]``, not ``values[i]``."""
