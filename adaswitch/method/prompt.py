"""``Prompt``: a prompt that a student rolls out. This module needs no torch, because the queue has none."""

import math
from dataclasses import dataclass

EVALUATION = -1
"""The step of an evaluation's prompts: they come before those of every step that trains."""


@dataclass(frozen=True)
class Prompt:
    """One prompt, which is rolled out once.

    ``id`` counts the run's draws from 0: with B prompts in a step, step s trains on ids s B .. s B + B - 1. A
    prompt that comes again in a later epoch has another id, and so other random numbers.
    """

    id: int
    token_ids: tuple[int, ...]
    record: int = 1
    """The number of the example in its data set, counted from 1."""
    step: int = 0
    """The optimizer step that trains on the prompt's rollout."""
    min_version: int = 0
    """The version of the oldest weights that may write the rollout, which is what bounds staleness."""
    reference_token_ids: tuple[int, ...] = ()
    """The data set's own completion with its end-of-sequence token. Empty if the policy does not train on it."""
    max_teacher_tokens: int | None = None
    """The largest number of tokens that the teacher may write in this rollout; None without a limit."""
    coin: float | None = None
    """A number in [0, 1) for policies that draw once per rollout; see ``adaswitch.method.coins.prompt_coin``."""
    greedy: bool = False
    """Whether the student writes the whole completion by itself, the most likely token each time. Neither the policy
    nor the teacher takes part. An evaluation's prompts are written so; their ``step`` is ``EVALUATION``."""
    divergence_scale: float | None = None
    """The scale, in nats, from which policy ``shared_scale`` makes its threshold; see ``adaswitch.method.schedule``."""

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
