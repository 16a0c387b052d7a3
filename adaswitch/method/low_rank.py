"""Low-rank adapters (Hu et al., "LoRA", arXiv 2106.09685): of ``W = W0 + (alpha / r) B A``, A and B alone are trained.

Shapes: W0 ``[out, in]``, B ``[out, r]``, A ``[r, in]``. The gradients of the factors follow from that of the whole
weight, dW: ``dB = (alpha / r) dW A^T`` and ``dA = (alpha / r) B^T dW``.

What travels to students is a pair of factors for each adapted weight: ``left [m, r]`` and ``right [r, n]``, with
``W = W0 + left @ right`` for a weight ``W0 [m, n]`` as the model holds it. So whoever merges them needs to know neither
the scale nor how a kind of layer turns its weight.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from adaswitch.config.base import Settings

if TYPE_CHECKING:
    from torch import Tensor

LEFT, RIGHT = ".lora_left", ".lora_right"
"""The endings of the names under which the factors of a weight travel, behind the weight's own name."""

Name = Annotated[str, Field(min_length=1)]


class LoRA(Settings):
    """Training of low-rank adapters in place of all weights. The model's own weights stay as they are."""

    rank: int = Field(default=16, ge=1)
    """The rank of an adapter: the number of columns of its first factor, and of rows of its second."""
    alpha: float = Field(default=32.0, gt=0)
    """The scale of the adapters: what they add to a weight is multiplied by ``alpha / rank``."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The share of an adapter's inputs that is left out at random in training. With 0 a student is trained as it
    writes."""
    target_modules: Annotated[list[Name], Field(min_length=1)] | Name = "all-linear"
    """The layers that get an adapter: the ends of their names, such as ``[q_proj, v_proj]``, or one regular expression
    that matches whole names. ``all-linear`` is every linear layer but the head."""


@dataclass(frozen=True)
class Factors:
    """What an adapter adds to a weight ``[m, n]``, as the product of two matrices."""

    left: "Tensor"
    """``[m, r]``, which the scale is a part of."""
    right: "Tensor"
    """``[r, n]``"""

    def added_to(self, weight: "Tensor") -> "Tensor":
        """``weight [m, n]`` with the product added, in the factors' number type."""
        return weight.to(self.left.dtype).addmm(self.left, self.right)


def as_published(factors: Mapping[str, Factors]) -> "dict[str, Tensor]":
    """The factors by the names under which they travel. ``factors`` are by the names of the weights."""
    lefts = {f"{name}{LEFT}": each.left for name, each in factors.items()}
    return lefts | {f"{name}{RIGHT}": each.right for name, each in factors.items()}


def published_factors(published: "Mapping[str, Tensor]") -> dict[str, Factors] | None:
    """The factors of ``published`` weights by the weights' names; None if they are whole weights.

    Raises ``KeyError`` if a factor has lost its other half.
    """
    names = [name.removesuffix(LEFT) for name in published if name.endswith(LEFT)]
    if not names:
        return None
    return {name: Factors(published[f"{name}{LEFT}"], published[f"{name}{RIGHT}"]) for name in names}
