"""The base of every loss, in this folder or a user's own: settings with one function of a batch.

Shapes: n completion tokens in a batch, k candidates, V tokens in the vocabulary, V' >= V columns of the logits.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Self

from pydantic import Field, field_validator, model_validator

from adaswitch.config.base import Settings
from adaswitch.method.selection import TokenSelection

if TYPE_CHECKING:  # settings are also read by programs without torch
    from torch import Tensor

    from adaswitch.method.batching import Batch


class Loss(Settings, ABC):
    """The loss of a completion token. The fields of a subclass are its settings."""

    @abstractmethod
    def token_losses(self, batch: "Batch", completion_logits: "Tensor") -> "Tensor":
        """The loss of each of the n completion tokens ``[n]``, from the student's ``completion_logits [n, V']``.

        The losses are not yet weighted by who wrote the token. The loss of a token follows from its own rows alone,
        since the trainer may ask for a batch's tokens in pieces; see ``is_per_token``.
        """

    def is_per_token(self) -> bool:
        """Whether the loss of a token does not depend on which other tokens are in the batch.

        If it does, the trainer computes the logits of a whole micro-batch at once.
        """
        return True

    def differentiating(self) -> AbstractContextManager[None]:
        """Entered while torch computes the gradient of the losses. A user's own loss is blamed if torch cannot."""
        return nullcontext()

    def check(self) -> None:
        """Raises ``ConfigError`` for settings that cannot be used. Called before a run; may import a user's code."""

    @abstractmethod
    def stage_weights(self) -> tuple[float, float]:
        """Two weights: that of a token that the student wrote, and that of a token that the student did not write."""

    def selection(self) -> TokenSelection:
        """Which tokens of a step count. By default all do."""
        return TokenSelection()


class StageWeights(Loss):
    """How much a token counts, depending on who wrote it. Every loss of this folder has these settings."""

    exploration_weight: float = Field(default=1.0, ge=0, le=1000)
    """The weight of each token that the student wrote. 0 leaves the student's own tokens out of the loss."""
    guidance_weight: float = Field(default=1.0, ge=0, le=1000)
    """The weight of each token that the teacher wrote, or that comes from the data set."""
    select: TokenSelection = TokenSelection()
    """Which completion tokens of a step count in the loss. By default all of them do."""

    def selection(self) -> TokenSelection:
        """See ``Loss``."""
        return self.select

    def stage_weights(self) -> tuple[float, float]:
        """See ``Loss``."""
        return self.exploration_weight, self.guidance_weight

    @field_validator("exploration_weight", "guidance_weight")
    @classmethod
    def _none_or_some(cls, weight: float) -> float:
        if 0 < weight < 0.001:
            raise ValueError("must be 0 or at least 0.001: only the two weights' ratio matters")
        return weight

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.exploration_weight == self.guidance_weight == 0:
            raise ValueError(
                "exploration_weight and guidance_weight are both 0, so nothing would be learnt: "
                "set at least one above 0"
            )
        return self


class DivergenceLoss(StageWeights):
    """A divergence between teacher and student, with the settings that all divergences share.

    A subclass gives the formula.
    """

    temperature: float = Field(default=1.0, ge=0.01, le=100)
    """The temperature T. The probabilities p of both teacher and student are softened to p^(1/T) and normalised. The
    loss is not multiplied by T^2."""
    cross_entropy_weight: float = Field(default=0.0, ge=0, le=1)
    """The weight w of cross entropy: the loss is (1 - w) times the divergence plus w times the token's cross entropy at
    temperature 1. The student's own tokens get cross entropy too, unless ``exploration_weight`` is 0."""

    @abstractmethod
    def divergence(self, p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
        """The divergence ``[n]`` between the teacher's p and the student's q, both log-probabilities ``[n, k + 1]``."""

    def token_losses(self, batch: "Batch", completion_logits: "Tensor") -> "Tensor":
        """See ``Loss``."""
        if self.cross_entropy_weight == 1:
            return batch.cross_entropy(completion_logits)
        losses = self.at_temperature(batch.teacher_logprobs, batch.student_logprobs(completion_logits))
        if self.cross_entropy_weight == 0:
            return losses
        on_tokens = batch.cross_entropy(completion_logits)
        return (1 - self.cross_entropy_weight) * losses + self.cross_entropy_weight * on_tokens

    def at_temperature(self, p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
        """``divergence`` ``[n]`` at this loss's temperature, from log-probabilities ``[n, k + 1]`` at temperature 1."""
        p_logprobs, q_logprobs = (retempered(side, self.temperature) for side in (p_logprobs, q_logprobs))
        return self.divergence(p_logprobs, q_logprobs)


def retempered(logprobs: "Tensor", temperature: float) -> "Tensor":
    """Log-probabilities of the same outcomes at another temperature: log-softmax(log p / T).

    If every token is a candidate, the result is the softmax of logits / T. Otherwise the tail is softened as one
    single outcome, on both sides alike. The result is still a proper divergence, but no longer a lower bound of the
    divergence between the full distributions at T. At a high T, a tail at ``TAIL_FLOOR`` is no longer negligible.

    Unlike in arXiv 1503.02531, no loss is multiplied by T^2. So the loss stays in nats, and ``cross_entropy_weight``
    alone says how divergence and cross entropy are weighted.
    """
    return logprobs if temperature == 1 else (logprobs / temperature).log_softmax(-1)
