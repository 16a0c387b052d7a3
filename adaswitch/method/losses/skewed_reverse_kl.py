"""Skewed reverse KL, one of the two losses of DistiLLM (arXiv 2402.03898)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.losses.base import DivergenceLoss
from adaswitch.method.losses.skewed_kl import skewed_kl

if TYPE_CHECKING:
    from torch import Tensor


class SkewedReverseKL(DivergenceLoss):
    """KL(student || mixture) of DistiLLM; alpha towards 0 is reverse KL."""

    kind: Literal["skewed_reverse_kl"] = "skewed_reverse_kl"
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """The student's share of the mixture with which the student is compared. The rest is the teacher's share."""

    def divergence(self, p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
        """See ``skewed_reverse_kl``."""
        return skewed_reverse_kl(p_logprobs, q_logprobs, self.alpha)


def skewed_reverse_kl(p_logprobs: "Tensor", q_logprobs: "Tensor", alpha: float = 0.1) -> "Tensor":
    """KL(q || (1 - alpha) p + alpha q) of DistiLLM (arXiv 2402.03898), 0 < alpha < 1, in nats ``[n]``.

    It never exceeds -log alpha, and becomes reverse KL as alpha -> 0.
    """
    return skewed_kl(q_logprobs, p_logprobs, alpha)
