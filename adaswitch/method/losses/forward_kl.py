"""Forward KL, the loss of AdaSwitch (arXiv 2510.07842) and of most distillation."""

from typing import TYPE_CHECKING, Literal

from adaswitch.method.divergence import forward_kl
from adaswitch.method.losses.base import DivergenceLoss

if TYPE_CHECKING:
    from torch import Tensor


class ForwardKL(DivergenceLoss):
    """KL(teacher || student), the default loss."""

    kind: Literal["forward_kl"] = "forward_kl"

    def divergence(self, p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
        """KL(p || q) = sum p (log p - log q) ``[n]``."""
        return forward_kl(p_logprobs, q_logprobs)
