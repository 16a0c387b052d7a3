"""Speculative KD's trigger (arXiv 2410.11325): the student's token is not among the teacher's most likely."""

from typing import Literal

from pydantic import Field

from adaswitch.method.switching import AmongTopK
from adaswitch.method.takeover.token_judge import TokenJudge


class TopKTrigger(TokenJudge):
    """Speculative KD (arXiv 2410.11325): at a token that is not among the teacher's most likely."""

    kind: Literal["top_k"] = "top_k"
    accept_top_k: int = Field(default=25, ge=1)
    """A student's token is kept if it is among this number of tokens that are most likely to the teacher."""

    def token_rule(self) -> AmongTopK:
        """See ``TokenJudge``."""
        return AmongTopK(self.accept_top_k)

    @property
    def looked_among(self) -> tuple[str, int]:
        """See ``Trigger``."""
        return "accept_top_k", self.accept_top_k
