"""How often, and for how many tokens, the teacher may write in one rollout, and what happens then."""

from typing import Literal, Self

from pydantic import Field, model_validator

from adaswitch.config.base import Settings


class RolloutBudget(Settings):
    """A limit on what the teacher writes in each rollout, beside that of ``teacher_budget``."""

    times: int | None = Field(default=None, ge=1)
    """The largest number of times that the teacher takes over."""
    tokens: int | None = Field(default=None, ge=1)
    """The largest number of tokens that the teacher writes. Where it is reached, the teacher stops at once."""
    then: Literal["student", "end"] = "student"
    """What happens once either is reached: the ``student`` goes on alone, unjudged; or the completion is cut short, and
    so the rollout is at its ``end``."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.times is None and self.tokens is None:
            raise ValueError("set times, tokens or both, or leave it out")
        return self
