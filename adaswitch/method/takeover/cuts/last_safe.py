"""MOTAB's cut (arXiv 2605.19433): back to the last safe place, since the error lies before it is noticed.

That the paper goes back to the last safe state is read; what it takes for safe is known here at second hand only, and
both ways of saying it are ours.
"""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from adaswitch.method.takeover.cuts.base import Cut


class LastSafe(Cut):
    """MOTAB (arXiv 2605.19433): behind the last token that was safe."""

    kind: Literal["last_safe"] = "last_safe"
    safe: float | None = Field(default=None, ge=0)
    """A token is safe if what the trigger measured at its place is this number of nats or less: its divergence, or the
    teacher's entropy. Set either this or ``share``."""
    share: float | None = Field(default=None, gt=0, lt=1)
    """A token is safe if what the trigger measured at its place is at most this share of the threshold at the
    crossing."""
    most_tokens: int | None = Field(default=None, ge=1)
    """The largest number of tokens to go back. By default it goes back to where the student took the pen, if no token
    is safe."""

    def num_back(self, values: Sequence[float], threshold: float) -> int:
        """See ``Cut``."""
        safe = self.safe if self.safe is not None else (self.share or 0.0) * threshold
        num_before = len(values) - 1
        most = num_before if self.most_tokens is None else min(num_before, self.most_tokens)
        return next((back for back in range(most) if values[num_before - 1 - back] <= safe), most)

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.safe is None) == (self.share is None):
            raise ValueError("set exactly one of safe (nats) and share (of the threshold)")
        return self
