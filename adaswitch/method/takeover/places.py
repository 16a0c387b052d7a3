"""What a trigger sees: places of a completion at which the student wrote, and what both models say there.

A ``Watch`` looks at them chunk by chunk, as the student writes on from where it took the pen. Everything that is seen
at a place is known before the token at that place is chosen, except for the token itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # settings name triggers, but are also read by programs without torch
    from adaswitch.method.distribution import TopK
    from adaswitch.method.roles import KeptRows


@dataclass(frozen=True)
class Places:
    """n places side by side. ``start`` is the number of the first in its completion, counted from 0."""

    start: int
    token_ids: Sequence[int]
    """``[n]``: the tokens that the student drew."""
    divergences: Sequence[float]
    """``[n]``, in nats: those of the trigger's metric."""
    scores: "TopK"
    """The teacher's n distributions."""
    rows: "KeptRows"
    """The student's n distributions."""

    @cached_property
    def entropies(self) -> list[float]:
        """``[n]``, in nats: those of the teacher's distributions, over its candidates and the tail."""
        found: list[float] = self.scores.entropies().tolist()
        return found


@dataclass(frozen=True)
class Verdict:
    """What a trigger says of some places."""

    crossing: int | None
    """The index of the place at which the teacher takes over; None if there is none."""
    values: Sequence[float]
    """What the trigger measured at each place up to and including the crossing, in nats."""
    thresholds: Sequence[float]
    """The largest value that each of these places allowed, in nats."""
    measures_divergences: bool = True
    """Whether ``values`` are the divergences. If not, a record shows minus infinity at the crossing."""


@runtime_checkable
class Watch(Protocol):
    """Follows one stretch of the student's: all that it writes from taking the pen to handing it over."""

    async def look(self, places: Places) -> tuple[int | None, list[float]]:
        """The index of the crossing in the next ``places`` (None without one), and the thresholds up to it."""
