"""Which tokens of a step are trained on: those up to a place, and a share of them by what they can teach.

- A share of the tokens: TIP (arXiv 2604.14084). On the student's own texts, half of the tokens teach as much as all of
  them. The paper ranks by the student's entropy and by the divergence between both models. Here it is the divergence,
  which the policy has recorded with the weights that wrote the text, or the teacher's entropy, which is known for each
  token, whoever wrote it.
- Only up to a place: prefix training (arXiv 2602.15260).

Shapes: T tokens in a completion, n tokens in all completions of a step.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from adaswitch.config.base import Settings

if TYPE_CHECKING:  # settings are also read by programs without torch
    import numpy as np
    from numpy.typing import NDArray

    from adaswitch.method.rollout import Rollout


class TokenSelection(Settings):
    """Which completion tokens of a step count in the loss. By default all of them do."""

    by: Literal["divergence", "teacher_entropy"] | None = None
    """What the tokens of a step are ranked by, the largest first. ``divergence`` is the one that the policy has
    recorded. Tokens for which it has recorded none stay in: the teacher's, and all behind them where the student goes
    on after the teacher. ``teacher_entropy`` counts all tokens beyond the teacher's candidates as one outcome."""
    share: float = Field(default=1.0, gt=0, le=1)
    """The share of the ranked tokens of a step that count."""
    up_to: int | None = Field(default=None, ge=1)
    """The number of tokens at the beginning of each completion that may count. By default all may."""

    @model_validator(mode="after")
    def _share_and_rank(self) -> Self:
        if (self.share < 1) != (self.by is not None):
            raise ValueError("select: share below 1 and by go together: set both, or neither")
        return self

    @property
    def selects(self) -> bool:
        """Whether any token may be left out."""
        return self.by is not None or self.up_to is not None


def selected(
    selection: TokenSelection, rollouts: "Sequence[Rollout]", counts: "Sequence[NDArray[np.bool_]]"
) -> "list[NDArray[np.bool_]]":
    """Whether each token ``[T]`` of each rollout counts, among those that ``counts`` says count otherwise."""
    import numpy as np

    begun = [
        own & (np.arange(len(own)) < selection.up_to) if selection.up_to is not None else own.copy()
        for own in counts
    ]
    if selection.by is None:
        return begun
    values = np.concatenate([_values(selection.by, rollout) for rollout in rollouts])
    all_counts = np.concatenate(begun)
    ranked = np.flatnonzero(all_counts & ~np.isnan(values))
    order = ranked[np.argsort(-values[ranked], kind="stable")]
    all_counts[order[math.ceil(selection.share * len(order)) :]] = False
    return np.split(all_counts, np.cumsum([len(own) for own in begun])[:-1])


def _values(by: str, rollout: "Rollout") -> "NDArray[np.float64]":
    """What each token ``[T]`` is ranked by, in nats; NaN if that is not known."""
    import numpy as np

    if by == "teacher_entropy":
        entropies: NDArray[np.float64] = rollout.teacher.entropies().numpy()
        return entropies
    values = np.full(rollout.num_tokens, np.nan)
    seen = rollout.divergences[: rollout.num_tokens]
    # The divergence at a switch is what led to the teacher's token, which therefore stays in.
    values[: len(seen)] = np.where(rollout.by_teacher[: len(seen)], np.nan, seen)
    return values
