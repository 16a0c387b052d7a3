"""Ours, not from a paper: the student's token is improbable to the teacher."""

from typing import Literal

from pydantic import Field

from adaswitch.method.switching import ProbableEnough
from adaswitch.method.takeover.token_judge import TokenJudge


class Probability(TokenJudge):
    """Ours, not from a paper: at a token whose probability under the teacher is below ``min_probability``."""

    kind: Literal["probability"] = "probability"
    min_probability: float = Field(gt=0, le=1)
    """The smallest probability of a token that may stay. A token that is not among the ``teacher.top_k`` candidates
    never stays, which is exact for values above 1 / (teacher.top_k + 1)."""

    def token_rule(self) -> ProbableEnough:
        """See ``TokenJudge``."""
        return ProbableEnough(self.min_probability)
