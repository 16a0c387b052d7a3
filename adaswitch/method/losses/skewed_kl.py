"""Skewed KL, one of the two losses of DistiLLM (arXiv 2402.03898)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.divergence import forward_kl, mixture
from adaswitch.method.losses.base import DivergenceLoss

if TYPE_CHECKING:
    from torch import Tensor


class SkewedKL(DivergenceLoss):
    """KL(teacher || mixture) of DistiLLM; alpha towards 0 is forward KL."""

    kind: Literal["skewed_kl"] = "skewed_kl"
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """The teacher's share of the mixture with which the teacher is compared. The rest is the student's share."""

    def divergence(self, p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
        """See ``skewed_kl``."""
        return skewed_kl(p_logprobs, q_logprobs, self.alpha)


def skewed_kl(p_logprobs: "Tensor", q_logprobs: "Tensor", alpha: float = 0.1) -> "Tensor":
    """KL(p || alpha p + (1 - alpha) q) of DistiLLM (arXiv 2402.03898), 0 < alpha < 1, in nats ``[n]``.

    It never exceeds -log alpha, and becomes forward KL as alpha -> 0.
    """
    return forward_kl(p_logprobs, mixture(p_logprobs, q_logprobs, alpha))
