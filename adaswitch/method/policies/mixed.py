"""GKD (arXiv 2306.13649): for each prompt a coin decides whether the student, or the teacher or data set, writes."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.coins import coin_of
from adaswitch.method.policies.base import Policy
from adaswitch.method.policies.dataset import Dataset
from adaswitch.method.policies.off_policy import OffPolicy
from adaswitch.method.policies.on_policy import OnPolicy

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class Mixed(Policy):
    """GKD (arXiv 2306.13649): for each prompt a coin decides whether the student or ``other`` writes."""

    kind: Literal["mixed"] = "mixed"
    student_fraction: float = Field(default=0.5, ge=0, le=1)
    """GKD's lambda: the probability that the student writes the completion."""
    other: Literal["teacher", "dataset"] = "dataset"
    """Who writes the completion otherwise: the teacher, or the data set with its own answer."""

    async def roll_out(self, stages: "Stages") -> None:
        """The student writes with probability lambda, and otherwise the teacher or the data set."""
        if coin_of(stages.prompt) < self.student_fraction:
            await OnPolicy().roll_out(stages)
        elif self.other == "teacher":
            await OffPolicy().roll_out(stages)
        else:
            await Dataset().roll_out(stages)

    @property
    def needs_reference(self) -> bool:
        """See ``Policy``."""
        return self.other == "dataset"
