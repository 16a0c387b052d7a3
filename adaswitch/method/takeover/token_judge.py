"""``TokenJudge``: the base of the triggers that judge the student's own token in place of a divergence."""

from abc import abstractmethod
from collections.abc import Sequence

from adaswitch.method.prompt import Prompt
from adaswitch.method.switching import TokenRule, first_switch
from adaswitch.method.takeover.places import Places, Verdict
from adaswitch.method.takeover.triggers.base import Trigger


class TokenJudge(Trigger):
    """A trigger that fires at a token that may not stay. The forward KL is measured beside, for the record."""

    @abstractmethod
    def token_rule(self) -> TokenRule:
        """The rule that says which tokens may stay."""

    async def judge(self, seen: Sequence[float], places: Places, prompt: Prompt) -> Verdict:
        """See ``Trigger``."""
        crossing, thresholds = first_switch(
            self.token_rule(), seen, places.divergences, places.token_ids, places.scores
        )
        return Verdict(crossing, places.divergences[: len(thresholds)], thresholds)

    @property
    def has_threshold(self) -> bool:
        """See ``Trigger``."""
        return False
