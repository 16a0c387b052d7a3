"""Total variation, one of the losses of f-distillation (arXiv 2307.15190)."""

from typing import TYPE_CHECKING, Literal

from adaswitch.method.losses.base import DivergenceLoss

if TYPE_CHECKING:
    from torch import Tensor


class TotalVariation(DivergenceLoss):
    """Half the sum of abs(teacher - student), from 0 to 1."""

    kind: Literal["total_variation"] = "total_variation"

    def divergence(self, p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
        """See ``total_variation``."""
        return total_variation(p_logprobs, q_logprobs)


def total_variation(p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
    """Half the sum of abs(p - q) ``[n]``, a number from 0 to 1 that is not in nats.

    By Pinsker's inequality its square is at most KL(p || q) / 2.
    """
    return 0.5 * (p_logprobs.exp() - q_logprobs.exp()).abs().sum(-1)
