"""``TakeOverPolicy``: the base of the policies that are one way of taking over, and their settings in common."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

from pydantic import Field, PrivateAttr

from adaswitch.method.policies.base import ChunksAhead, Policy
from adaswitch.method.takeover.marks import Texts
from adaswitch.method.takeover.take_over import Ways, take_over
from adaswitch.registry.own_code import OwnCode

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class TakeOverPolicy(Policy):
    """The student writes, and the teacher takes over as ``ways`` say."""

    chunk_size: int = Field(default=16, ge=1)
    """The number of tokens that the student writes before the teacher scores them. It changes the cost, but never the
    result."""
    write_ahead: ChunksAhead = "auto"
    """The number of chunks that the student writes ahead while the teacher scores one. It changes the cost, but never
    the result: after a switch they are thrown away, and count as wasted. ``auto`` is 0 in lockstep, else 1."""
    _bound: Ways | None = PrivateAttr(default=None)

    @abstractmethod
    def ways(self) -> Ways:
        """When the teacher takes over, where from, for how long and how often."""

    def bound(self, texts: Texts) -> Self:
        """See ``Policy``."""
        if not self.ways().needs_texts:
            return self
        copy = self.model_copy()
        copy._bound = self.bound_ways(texts)
        return copy

    def bound_ways(self, texts: Texts) -> Ways:
        """``ways`` for a tokenizer of these ``texts``. A policy whose settings stand elsewhere says so here."""
        return self.ways().bound(texts)

    async def roll_out(self, stages: "Stages") -> None:
        """The student writes; where the trigger fires the teacher takes over, and keeps the pen as the hold says."""
        await take_over(stages, self._bound or self.ways(), self.chunk_size)

    def check(self) -> None:
        """See ``Policy``."""
        self.ways().trigger.check()

    @property
    def own_code(self) -> list[OwnCode]:
        """See ``Policy``."""
        return [part for part in vars(self.ways().trigger).values() if isinstance(part, OwnCode)]

    @property
    def needs_texts(self) -> bool:
        """See ``Policy``."""
        return self.ways().needs_texts

    @property
    def hands_back(self) -> bool:
        """See ``Policy``."""
        return self.ways().hands_back

    @property
    def accepted_candidates(self) -> int | None:
        """See ``Policy``."""
        among = self.ways().trigger.looked_among
        return None if among is None else among[1]

    @property
    def accepted_setting(self) -> str:
        """See ``Policy``."""
        among = self.ways().trigger.looked_among
        return super().accepted_setting if among is None else f"{self.trigger_group}.{among[0]}"

    @property
    def threshold_settings(self) -> str | None:
        """See ``Policy``. A teacher that hands back is not judged by how often it takes over."""
        levers = self.ways().trigger.levers
        if self.hands_back or not levers:
            return None
        return " or ".join(f"{self.trigger_group}.{lever}" for lever in levers)

    def cannot_switch(self, max_new_tokens: int, top_k: int) -> str | None:
        """See ``Policy``."""
        why = self.ways().trigger.cannot_fire(max_new_tokens, top_k)
        return super().cannot_switch(max_new_tokens, top_k) if why is None else f"{self.trigger_group}.{why}"

    @property
    def threshold_follows_mean(self) -> bool:
        """See ``Policy``."""
        return self.ways().trigger.follows_mean

    @property
    def first_place(self) -> int:
        """See ``Policy``."""
        return self.ways().trigger.first_place

    @property
    def scale_steps(self) -> int | None:
        """See ``Policy``."""
        return self.ways().trigger.scale_steps
