"""``take_over``: a rollout in which the teacher takes over, by any trigger, cut, hold and budget."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from adaswitch.method.switching import NeverSwitch
from adaswitch.method.takeover.budget import RolloutBudget
from adaswitch.method.takeover.cuts.base import Cut
from adaswitch.method.takeover.holds.base import Hold
from adaswitch.method.takeover.marks import Texts
from adaswitch.method.takeover.stretch import Stretch
from adaswitch.method.takeover.triggers.base import Trigger

if TYPE_CHECKING:  # the stages need torch, but settings are also read by programs without torch
    from adaswitch.method.stages import Stages


@dataclass(frozen=True)
class Ways:
    """When the teacher takes over, where from, for how long and how often."""

    trigger: Trigger
    hold: Hold
    cut: Cut
    budget: RolloutBudget | None = None

    @property
    def times(self) -> int | None:
        """The largest number of legs; None without a limit."""
        return self.budget.times if self.budget else None

    @property
    def goes_on_alone(self) -> bool:
        """Whether the student writes on once the teacher may write no more, a run's own budget included."""
        return self.budget.then == "student" if self.budget else self.hold.hands_back

    @property
    def hands_back(self) -> bool:
        """Whether the student may write after the teacher."""
        return self.hold.hands_back or self.goes_on_alone

    @property
    def needs_texts(self) -> bool:
        """Whether tokens are named by their texts."""
        return self.trigger.needs_texts or self.hold.needs_texts

    def bound(self, texts: Texts, trigger: str = "policy.trigger", hold: str = "policy.hold") -> Self:
        """The same for a tokenizer of these ``texts``; ``trigger`` and ``hold`` are where their settings stand."""
        return type(self)(
            self.trigger.bound(texts, trigger), self.hold.bound(texts, hold), self.cut, self.budget
        )


async def take_over(stages: "Stages", ways: Ways, chunk_size: int) -> None:
    """The student writes, the teacher takes over as ``ways`` say, and so they take turns to the end.

    A leg of the teacher begins at the crossing or before it, never before the student's own stretch, and is one token
    long at least. So every turn gets further. The student's tokens depend on those before them alone, so that
    ``chunk_size`` does not change the rollout.
    """
    if ways.budget and ways.budget.tokens:
        stages.limit_teacher(ways.budget.tokens)
    trigger, num_legs = ways.trigger.ready(), 0
    while not stages.ended:
        if num_legs == ways.times or not stages.teacher_may_write:
            if ways.goes_on_alone:
                await stages.explore(NeverSwitch(), trigger.watched, stages.num_left)
            else:
                stages.cut_short()
            return
        stretch = Stretch(trigger, stages.prompt)
        if await stages.explore(stretch, trigger.watched, chunk_size):
            num_legs += 1
            stages.cut_back(ways.cut.num_back(stretch.values, stretch.threshold))
            await ways.hold.guide(stages)
