"""The generalised Jensen-Shannon divergence, the loss of GKD (arXiv 2306.13649)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adaswitch.method.divergence import jsd
from adaswitch.method.losses.base import DivergenceLoss

if TYPE_CHECKING:
    from torch import Tensor


class JSD(DivergenceLoss):
    """Generalised Jensen-Shannon divergence.

    Divided by beta, the loss goes to forward KL as beta -> 0; divided by 1 - beta, to reverse KL as beta -> 1.
    """

    kind: Literal["jsd"] = "jsd"
    beta: float = Field(default=0.5, gt=0, lt=1)
    """The teacher's share of the mixture with which both teacher and student are compared."""

    def divergence(self, p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
        """beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q ``[n]``."""
        return jsd(p_logprobs, q_logprobs, self.beta)
