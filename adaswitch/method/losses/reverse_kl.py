"""Reverse KL, the loss of MiniLLM (arXiv 2306.08543)."""

from typing import TYPE_CHECKING, Literal

from adaswitch.method.divergence import reverse_kl
from adaswitch.method.losses.base import DivergenceLoss

if TYPE_CHECKING:
    from torch import Tensor


class ReverseKL(DivergenceLoss):
    """KL(student || teacher)."""

    kind: Literal["reverse_kl"] = "reverse_kl"

    def divergence(self, p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
        """KL(q || p) = sum q (log q - log p) ``[n]``."""
        return reverse_kl(p_logprobs, q_logprobs)
