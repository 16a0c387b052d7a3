"""Any way of taking over, put together from its parts. The named ways of the papers are policies beside this one."""

from typing import Literal, Self

from pydantic import Field, model_validator

from adaswitch.method.policies.taking_over import TakeOverPolicy
from adaswitch.method.takeover.budget import RolloutBudget
from adaswitch.method.takeover.cuts import AnyCut
from adaswitch.method.takeover.cuts.at_crossing import AtCrossing
from adaswitch.method.takeover.cuts.last_safe import LastSafe
from adaswitch.method.takeover.holds import AnyHold
from adaswitch.method.takeover.holds.to_the_end import ToTheEnd
from adaswitch.method.takeover.holds.until_low import UntilLow
from adaswitch.method.takeover.take_over import Ways
from adaswitch.method.takeover.triggers import AnyTrigger
from adaswitch.method.takeover.triggers.adaptive import Adaptive


class TakeOver(TakeOverPolicy):
    """Any way of taking over: the student writes, and the teacher takes over as the parts say."""

    kind: Literal["take_over"] = "take_over"
    trigger: AnyTrigger = Field(default=Adaptive())
    """When the teacher takes over."""
    hold: AnyHold = Field(default=ToTheEnd())
    """How long the teacher keeps the pen."""
    cut: AnyCut = Field(default=AtCrossing())
    """Where the teacher begins: at the crossing, or before it."""
    budget: RolloutBudget | None = None
    """How often, and for how many tokens, the teacher may write in one rollout. By default there is no limit."""

    def ways(self) -> Ways:
        """See ``TakeOverPolicy``."""
        return Ways(self.trigger, self.hold, self.cut, self.budget)

    @property
    def trigger_group(self) -> str:
        """See ``Policy``."""
        return "policy.trigger"

    @model_validator(mode="after")
    def _one_leg_is_one(self) -> Self:
        if isinstance(self.hold, ToTheEnd) and self.budget and self.budget.times:
            raise ValueError(
                "budget.times belongs to a teacher that hands back, and with hold to_the_end it takes over once: leave "
                "it out, or take another hold"
            )
        return self

    @model_validator(mode="after")
    def _no_pen_thrown_back_at_once(self) -> Self:
        hold, fixed = self.hold, self.trigger.fixed_threshold
        if not isinstance(hold, UntilLow) or fixed is None or hold.metric != self.trigger.watched:
            return self
        if hold.tau > fixed:
            raise ValueError(
                f"hold.tau {hold.tau:g} is above trigger.tau {fixed:g}: what is low to the hold would have the teacher "
                "take over again at once: lower it"
            )
        return self

    @model_validator(mode="after")
    def _a_safe_token_may_be_missing(self) -> Self:
        cut, trigger = self.cut, self.trigger
        if not isinstance(cut, LastSafe):
            return self
        if cut.share is not None and not trigger.has_threshold:
            raise ValueError(
                f"cut.share is a share of a threshold, and the trigger {trigger.name} has none: set cut.safe"
            )
        fixed = trigger.fixed_threshold
        if cut.safe is not None and fixed is not None and cut.safe >= fixed:
            raise ValueError(
                f"cut.safe {cut.safe:g} must be below trigger.tau {fixed:g}: every token before the crossing would be "
                "safe, and none thrown away"
            )
        return self
