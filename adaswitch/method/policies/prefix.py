"""Prefix training (arXiv 2602.15260): the student writes the beginning of a completion, and nothing follows.

It is the baseline for cheap: no token of the teacher's, and of the student's only those that are trained on. With
``trainer.loss.select.up_to`` whole completions are written, of which the beginning counts.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.policies.base import Policy
from adaswitch.method.switching import NeverSwitch

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class Prefix(Policy):
    """Prefix training (arXiv 2602.15260): the student writes the first ``num_tokens``, and nothing follows."""

    kind: Literal["prefix"] = "prefix"
    num_tokens: int = Field(ge=1)
    """The number of tokens at which a completion ends, if it does not end before. An evaluation still writes
    ``student.max_new_tokens``."""

    async def roll_out(self, stages: "Stages") -> None:
        """The student writes up to ``num_tokens``, as in on-policy distillation."""
        stages.shorten(self.num_tokens)
        await stages.explore(NeverSwitch(), "forward_kl", stages.num_left)

    @property
    def writers(self) -> frozenset[Literal["student", "other"]]:
        """See ``Policy``."""
        return frozenset({"student"})
