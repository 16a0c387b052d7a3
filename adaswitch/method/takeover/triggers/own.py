"""A user's own rule as the trigger. ``docs/extending.md`` has complete examples."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import PrivateAttr

from adaswitch.method.divergence import DivergenceName
from adaswitch.method.own_rule import OwnRule
from adaswitch.method.prompt import Prompt
from adaswitch.method.switching import SwitchRule, TokenRule, first_switch
from adaswitch.method.takeover.places import Places, Verdict
from adaswitch.method.takeover.triggers.base import Trigger

WHERE = "policy.trigger.rule"


class Own(Trigger):
    """Where your own switch rule or token rule says so."""

    kind: Literal["own"] = "own"
    rule: OwnRule
    """Your own rule. A switch rule gets the divergences since the student took the pen."""
    metric: DivergenceName = "forward_kl"
    """The divergence that your rule gets."""
    _loaded: SwitchRule | TokenRule | None = PrivateAttr(default=None)

    async def judge(self, seen: Sequence[float], places: Places, prompt: Prompt) -> Verdict:
        """See ``Trigger``."""
        rule = self._loaded or self.rule.load(WHERE)
        crossing, thresholds = first_switch(rule, seen, places.divergences, places.token_ids, places.scores)
        return Verdict(crossing, places.divergences[: len(thresholds)], thresholds)

    def ready(self) -> Self:
        """See ``Trigger``. Your rule is made once for each rollout."""
        copy = self.model_copy()
        copy._loaded = self.rule.load(WHERE)
        return copy

    def check(self) -> None:
        """See ``Trigger``."""
        self.rule.load(WHERE)

    @property
    def watched(self) -> DivergenceName:
        """See ``Trigger``."""
        return self.metric

    @property
    def has_threshold(self) -> bool:
        """See ``Trigger``. Whether the rule compares is known only once it is imported, so it is taken not to."""
        return False
