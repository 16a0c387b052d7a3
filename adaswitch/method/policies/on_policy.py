"""On-policy distillation (GKD with lambda 1, arXiv 2306.13649; MiniLLM, arXiv 2306.08543)."""

from typing import TYPE_CHECKING, Literal

from adaswitch.method.policies.base import Policy
from adaswitch.method.switching import NeverSwitch

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class OnPolicy(Policy):
    """The student writes the whole completion."""

    kind: Literal["on_policy"] = "on_policy"

    async def roll_out(self, stages: "Stages") -> None:
        """The student writes the whole completion, as AdaSwitch would if it never switched."""
        await stages.explore(NeverSwitch(), "forward_kl", stages.budget.max_new_tokens)

    @property
    def writers(self) -> frozenset[Literal["student", "other"]]:
        """See ``Policy``."""
        return frozenset({"student"})
