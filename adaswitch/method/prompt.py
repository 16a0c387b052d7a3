"""``Prompt``: what a student is to roll out. Without torch, as the queue that hands it out is."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """One prompt to be rolled out once.

    ``id`` counts the run's draws from 0: with B prompts a step, step s trains on ids s B .. s B + B - 1. A
    prompt that comes again in a later epoch has another id, hence other random numbers.
    """

    id: int
    token_ids: tuple[int, ...]
    record: int = 1
    """Number of the example in its data set, from 1."""
    step: int = 0
    """The optimizer step that its rollout is for."""
    min_version: int = 0
    """The oldest weights that the rollout may be written with: what bounds staleness."""
    reference_token_ids: tuple[int, ...] = ()
    """The data set's own completion with its end-of-sequence token, where the policy trains on it."""
    max_teacher_tokens: int | None = None
    """How many tokens the teacher may write in this rollout; None is as many as it takes."""
    coin: float | None = None
    """A number in [0, 1) for what a policy draws once a rollout; see ``adaswitch.method.sampling.prompt_coin``."""
    divergence_scale: float | None = None
    """In nats, for a threshold on a scale that a step's prompts share; see ``adaswitch.method.schedule``."""

    def __post_init__(self) -> None:
        if self.max_teacher_tokens is not None and self.max_teacher_tokens < 1:
            raise ValueError(
                f"prompt {self.id}: max_teacher_tokens is {self.max_teacher_tokens}, must be 1 or more"
            )
        if self.coin is not None and not 0 <= self.coin < 1:
            raise ValueError(f"prompt {self.id}: the coin {self.coin} is not in [0, 1)")
        if self.divergence_scale is not None and not 0 <= self.divergence_scale < math.inf:
            raise ValueError(
                f"prompt {self.id}: divergence_scale is {self.divergence_scale}, must be finite, 0 or more"
            )
