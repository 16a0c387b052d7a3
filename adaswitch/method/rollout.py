"""``Rollout``: the record of one completed prompt, from which the trainer learns.

Shapes: T tokens in a completion, k candidates in a row, V tokens in the vocabulary.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from adaswitch.method.distribution import TopK
from adaswitch.method.prompt import Prompt

LARGEST_WEIGHT = 1000.0
"""The most that a policy, or a loss, may let a token count. Both multiply."""


class Ending(StrEnum):
    """How a completion ended."""

    STOP = "stop"
    """The completion ended with an end-of-sequence token, which is its last token."""
    LENGTH = "length"
    """The completion reached ``max_new_tokens``, or the length at which its policy ends it."""
    BUDGET = "budget"
    """The completion was cut short where the teacher had used up its budget, in tokens or in turns."""


@dataclass(frozen=True)
class Costs:
    """The costs of a rollout: tokens by who handled them, and seconds by what was waited for."""

    student_tokens: int = 0
    """The tokens that the student wrote, including those that were thrown away."""
    wasted_tokens: int = 0
    """Those of the student's tokens that were thrown away: in a chunk, the tokens from the switch on, and all chunks
    that were written ahead of it; tokens that were cut back, and tokens that were written for a look only. A chunk that
    was given up while it was being written counts in full."""
    scored_tokens: int = 0
    """The positions for which the teacher gave a distribution, not counting those that the teacher generated."""
    teacher_tokens: int = 0
    """The tokens that the teacher generated."""
    write_s: float = 0.0
    """The seconds of waiting for the student: to write, and to say how likely the teacher's candidates are to it."""
    score_s: float = 0.0
    """The seconds of waiting for the teacher's scores."""
    generate_s: float = 0.0
    """The seconds of waiting for the teacher to write."""


def require_weights(
    weights: NDArray[np.float64], num_tokens: int, what: str, largest: float = LARGEST_WEIGHT**2
) -> None:
    """Raises ``ValueError`` unless there is one weight for each of ``num_tokens``.

    A weight is 0, or lies between 1 / ``largest`` and ``largest``: beyond, losses in float32 would overflow or vanish.
    """
    if weights.shape != (num_tokens,):
        raise ValueError(f"{what} have the shape {list(weights.shape)}: give one a token, [{num_tokens}]")
    fit = (weights == 0) | ((weights >= 1 / largest) & (weights <= largest))
    if not fit.all():
        raise ValueError(f"{what} must be 0, or numbers from {1 / largest:g} to {largest:g}")


@dataclass(frozen=True)
class Candidates:
    """The most likely tokens of a distribution, for people to look at: n in each of D rows, by falling probability."""

    ids: NDArray[np.int32]
    """``[D, n]``."""
    logprobs: NDArray[np.float32]
    """``[D, n]``, in nats; minus infinity for a token that cannot come."""


@dataclass(frozen=True)
class Rollout:
    """A prompt, its completion, and the teacher's distribution at every token of the completion.

    A worked example, with a switch at the third token (index 2)::

        prompt       3  +  4  =
        completion               1  2  7  <eos>      T = 4
        by_teacher               0  0  1  1          exploration, then guidance
        teacher                  p1 p2 p3 p4         p_i is known before token i is chosen
        divergences              .1 .2 .9            up to and with the one that crossed
        thresholds               inf .3 .4           the same length
        switch_position = 2, num_explored = 2
    """

    prompt: Prompt
    completion_token_ids: tuple[int, ...]
    by_teacher: NDArray[np.bool_]
    """``[T]``: False for a token that the student wrote, True for a token of the teacher or the data set."""
    teacher: TopK
    """T rows: at each token the teacher's next-token distribution, no matter who wrote the token."""
    divergences: tuple[float, ...]
    """The divergences in nats at tokens 0, 1, .. as far as the distributions of both models were seen at each token.

    They end with the switch, which is included. They go on if the student goes on after one token of the teacher. If
    tokens were cut back, they end at the place where the teacher began, and those behind it are forgotten.
    """
    thresholds: tuple[float, ...]
    """The thresholds in nats: infinity where there was none (yet), minus infinity at a switch without a threshold."""
    ending: Ending
    weights_version: int
    """The version of the student's weights that wrote the rollout: the number of updates that made them."""
    costs: Costs = field(default_factory=Costs)
    token_weights: NDArray[np.float64] | None = None
    """``[T]``: what each token counts in the loss; 0 leaves it out. None is 1 for each.

    A policy may say so. The trainer multiplies it by what the loss says of the token (``adaswitch.method.step_loss``).
    """
    student_top: Candidates | None = None
    """The student's most likely tokens at each of ``divergences``, among the teacher's candidates there.

    They are for people alone, and nothing is computed with them. None in rollouts of older versions.
    """

    def __post_init__(self) -> None:
        num_tokens = len(self.completion_token_ids)
        if not num_tokens == len(self.by_teacher) == len(self.teacher):
            raise ValueError(
                f"prompt {self.prompt.id}: {num_tokens} tokens, {len(self.by_teacher)} writers and "
                f"{len(self.teacher)} teacher rows must be equally many"
            )
        if len(self.divergences) != len(self.thresholds):
            raise ValueError(f"prompt {self.prompt.id}: every divergence needs its threshold")
        top = self.student_top
        if top is not None and not top.ids.shape == top.logprobs.shape == (
            len(self.divergences),
            top.ids.shape[-1],
        ):
            raise ValueError(
                f"prompt {self.prompt.id}: {len(self.divergences)} divergences, and the student's candidates have the "
                f"shapes {list(top.ids.shape)} and {list(top.logprobs.shape)}"
            )
        if self.token_weights is not None:
            require_weights(self.token_weights, num_tokens, f"prompt {self.prompt.id}: the tokens' weights")

    @property
    def weights(self) -> NDArray[np.float64]:
        """``[T]``: what each token counts in the loss, which is 1 where nobody says."""
        return np.ones(self.num_tokens) if self.token_weights is None else self.token_weights

    @property
    def num_tokens(self) -> int:
        """T, the number of tokens in the completion."""
        return len(self.completion_token_ids)

    @property
    def switch_position(self) -> int | None:
        """The index of the first token that the student did not write; None if there is no such token."""
        return int(self.by_teacher.argmax()) if self.by_teacher.any() else None
