"""A control for AdaSwitch: one switch at a randomly drawn place, no matter what either model says there."""

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from adaswitch.method.coins import coin_of, switch_place
from adaswitch.method.policies.base import ChunksAhead, Policy
from adaswitch.method.switching import NeverSwitch, SwitchAt

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class RandomSwitch(Policy):
    """A control for AdaSwitch: one switch at a place that is drawn without a look at either model."""

    kind: Literal["random_switch"] = "random_switch"
    positions: list[Annotated[float, Field(ge=0, le=1)]] | None = None
    """The probabilities of a switch at token 0, at token 1, and so on. If they add up to less than 1, the rest is the
    probability of no switch."""
    from_run: str | None = None
    """The directory of an earlier run, from whose switch positions the probabilities are taken, in place of
    ``positions``. The new run's ``config.yaml`` records the probabilities as ``positions``."""
    from_steps: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=2, max_length=2)
    """The first and the last step of ``from_run`` whose switch positions are used. By default all steps are used."""
    write_ahead: ChunksAhead = "auto"
    """The number of chunks that the student writes ahead while the teacher scores one. It changes the cost, but never
    the result: after a switch they are thrown away, and count as wasted. ``auto`` is 0 in lockstep, else 1."""

    async def roll_out(self, stages: "Stages") -> None:
        """The student writes up to the place that the prompt's coin draws, and the teacher from there to the end.

        If the student ends its completion before that place, there is no switch.
        """
        if self.positions is None:
            raise ValueError(
                "policy.from_run has not been resolved: see adaswitch.runs.recorded.resolve_config"
            )
        place = switch_place(self.positions, coin_of(stages.prompt))
        rule = NeverSwitch() if place is None else SwitchAt(place)
        # The place is known, so the student writes up to the place in one chunk. One token more is needed to have
        # the divergence at the place.
        chunk_size = stages.budget.max_new_tokens if place is None else place + 1
        if await stages.explore(rule, "forward_kl", chunk_size):
            await stages.guide()

    def cannot_switch(self, max_new_tokens: int, top_k: int) -> str | None:
        """See ``Policy``. Positions without any probability are right: they are those of a run that never switched."""
        if self.positions is None or any(self.positions[:max_new_tokens]) or not any(self.positions):
            return None
        return f"policy.positions: there is no probability at any of the first {max_new_tokens} tokens, which are all"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.positions is None) == (self.from_run is None):
            raise ValueError("set exactly one of positions (probabilities) and from_run (a run directory)")
        if self.positions is not None and math.fsum(self.positions) > 1 + 1e-9:
            raise ValueError(f"positions add up to {math.fsum(self.positions):g}, which must not exceed 1")
        if self.from_steps is not None and self.from_run is None:
            raise ValueError("from_steps belongs to from_run")
        if self.from_steps is not None and self.from_steps[0] > self.from_steps[1]:
            raise ValueError("from_steps must be the first and the last step, in this order")
        return self
