"""MOTAB (arXiv 2605.19433): once the text has gone astray, the teacher corrects it from the last safe place on.

The paper monitors the student's text against a boundary that adapts, and backtracks to the last safe state, where the
teacher intervenes. That much is read in its abstract. Its boundary, by the teacher's entropy, is known at second hand.
What is safe, and that the teacher hands back after a number of tokens, are ours.
"""

from typing import Literal

from pydantic import Field

from adaswitch.method.policies.taking_over import TakeOverPolicy
from adaswitch.method.takeover.cuts.last_safe import LastSafe
from adaswitch.method.takeover.holds.tokens import Tokens
from adaswitch.method.takeover.take_over import Ways
from adaswitch.method.takeover.triggers.unsure import Unsure


class MOTAB(TakeOverPolicy):
    """MOTAB (arXiv 2605.19433): the teacher goes back to the last safe place, and corrects the text from there on."""

    kind: Literal["motab"] = "motab"
    window: int = Field(default=10, ge=1)
    """The number of latest places whose mean entropy counts."""
    factor: float = Field(default=3.0, gt=0)
    """The text has gone astray where the teacher's entropy exceeds this factor times the mean."""
    floor: float = Field(default=0.1, ge=0)
    """The smallest entropy, in nats, at which the text can have gone astray."""
    safe_share: float = Field(default=0.3, gt=0, lt=1)
    """A token is safe if the teacher's entropy at its place is at most this share of what would be astray."""
    guide_tokens: int = Field(default=16, ge=1)
    """The number of tokens that the teacher writes before the student goes on."""

    def ways(self) -> Ways:
        """See ``TakeOverPolicy``."""
        return Ways(
            Unsure(window=self.window, factor=self.factor, floor=self.floor),
            Tokens(num=self.guide_tokens),
            LastSafe(share=self.safe_share),
        )
