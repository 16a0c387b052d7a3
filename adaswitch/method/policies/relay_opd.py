"""Relay-OPD (arXiv 2607.26057): where the teacher would think again, it takes the baton for a few paragraphs.

Trigger, leg and budget are those of the authors' repository: K = 5, at most two legs, three paragraphs beside the one
that is begun. That the rollout ends with the last leg is known from a summary of the paper. The paper's own loss, a
reverse KL on the tokens that were written, is not part of the policy: see ``trainer.loss``.
"""

from typing import Literal

from pydantic import Field

from adaswitch.method.policies.taking_over import TakeOverPolicy
from adaswitch.method.takeover.budget import RolloutBudget
from adaswitch.method.takeover.cuts.at_crossing import AtCrossing
from adaswitch.method.takeover.holds.sentence import Sentence
from adaswitch.method.takeover.marks import Mark, Texts, Word
from adaswitch.method.takeover.take_over import Ways
from adaswitch.method.takeover.triggers.redirect import SECOND_THOUGHTS, Redirect


class RelayOPD(TakeOverPolicy):
    """Relay-OPD (arXiv 2607.26057): the teacher takes over where it would think again, for a few paragraphs."""

    kind: Literal["relay_opd"] = "relay_opd"
    words: list[Word] = Field(default=SECOND_THOUGHTS, min_length=1)
    """The words that begin a second thought. A token counts if it reads like one of them, spaces and case apart."""
    student_top_k: int = Field(default=5, ge=1)
    """The paper's K: the teacher takes over only if none of these words is among this number of tokens that are most
    likely to the student."""
    legs: int = Field(default=2, ge=1)
    """The paper's M: the largest number of times that the teacher takes over."""
    paragraphs: int = Field(default=3, ge=0)
    """The paper's L: the number of paragraphs that the teacher writes beside the one that is begun."""
    ends: list[Mark] = Field(default=["\n\n"], min_length=1)
    """The marks that end a paragraph. A token ends it if the token's own text ends with any of them."""
    most_tokens: int = Field(default=512, ge=1)
    """The teacher hands back after this number of tokens, whatever the paragraphs."""
    then: Literal["student", "end"] = "end"
    """What follows the last leg: the completion is at its ``end``, or the ``student`` goes on alone."""

    def ways(self) -> Ways:
        """See ``TakeOverPolicy``."""
        hold = Sentence(num=self.paragraphs + 1, ends=self.ends, most_tokens=self.most_tokens)
        trigger = Redirect(words=self.words, student_top_k=self.student_top_k)
        return Ways(trigger, hold, AtCrossing(), RolloutBudget(times=self.legs, then=self.then))

    def bound_ways(self, texts: Texts) -> Ways:
        """See ``TakeOverPolicy``."""
        return self.ways().bound(texts, "policy", "policy")
