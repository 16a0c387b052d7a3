"""AdaSwitch (arXiv 2510.07842): the student writes until it diverges too far, then the teacher writes to the end.

p_i and q_i are the teacher's and the student's next-token distributions at step i. The divergence d_i = D(p_i || q_i)
is known before token y_i is chosen.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from adaswitch.method.divergence import why_unreachable
from adaswitch.method.own_rule import OwnRule
from adaswitch.method.policies.base import ChunksAhead, DivergenceName, Policy
from adaswitch.method.switching import AdaptiveThreshold, SwitchRule, TokenRule

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class AdaSwitch(Policy):
    """The student writes until the divergence exceeds ``factor`` times its recent mean; then the teacher writes."""

    kind: Literal["adaswitch"] = "adaswitch"
    window: int = Field(default=10, ge=1)
    """The paper's L: the threshold uses the mean of this number of latest divergences."""
    factor: float = Field(default=3.0, gt=0)
    """The paper's K: the threshold is this factor times the mean of the last ``window`` divergences."""
    floor: float = Field(default=0.0, ge=0)
    """The smallest threshold, in nats. With 0 the rule is exactly the paper's."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""
    chunk_size: int = Field(default=32, ge=1)
    """The number of tokens that the student writes before the teacher scores them. It changes the cost, but never the
    result."""
    write_ahead: ChunksAhead = "auto"
    """The number of chunks that the student writes ahead while the teacher scores one. It changes the cost, but never
    the result: after a switch they are thrown away, and count as wasted. ``auto`` is 0 in lockstep, else 1."""
    rule: OwnRule | None = None
    """Your own switch rule, in place of ``window``, ``factor`` and ``floor``."""

    async def roll_out(self, stages: "Stages") -> None:
        """The student explores until its divergence is too large; then the teacher guides to the end."""
        crossed = await stages.explore(self.switch_rule(), self.metric, self.chunk_size)
        if crossed:
            await stages.guide()

    def check(self) -> None:
        """See ``Policy``."""
        self.switch_rule()

    def switch_rule(self) -> SwitchRule | TokenRule:
        """The paper's rule, or the rule that the setting ``rule`` names."""
        if self.rule is not None:
            return self.rule.load()
        return AdaptiveThreshold(self.window, self.factor, self.floor)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        own = {"window", "factor", "floor"} & self.model_fields_set
        # The config.yaml of a run contains every setting, so a default there does not mean that a user set it.
        changed = [
            name for name in sorted(own) if getattr(self, name) != type(self).model_fields[name].default
        ]
        if self.rule is not None and changed:
            raise ValueError(
                f"{changed[0]} belongs to the paper's rule, which policy.rule replaces: leave it out"
            )
        return self

    def cannot_switch(self, max_new_tokens: int, top_k: int) -> str | None:
        """See ``Policy``."""
        why = None if self.rule is not None else why_unreachable("policy.floor", self.floor, self.metric)
        return why or super().cannot_switch(max_new_tokens, top_k)

    @property
    def threshold_settings(self) -> str:
        """See ``Policy``."""
        return "policy.factor or policy.floor" if self.rule is None else "the settings of policy.rule"

    @property
    def threshold_follows_mean(self) -> bool:
        """See ``Policy``. Of your own rule it is not known."""
        return self.rule is None

    @property
    def first_place(self) -> int:
        """See ``Policy``. The mean is taken over ``window`` divergences, so no switch can come before."""
        return self.window if self.rule is None else 0
