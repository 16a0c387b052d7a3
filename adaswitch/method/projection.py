"""The loss of completion tokens from hidden states, without the logits ``[n, V']`` ever being whole.

Shapes: n completion tokens, d the width of the model, V' columns of the logits, c tokens in a piece.

The hidden states are projected c rows at a time. The loss of a piece and the gradient of its logits are taken at once,
on the way forward, and only what they add to the gradients of the hidden states and of the head is kept. So each
piece is projected once, and the backward pass has nothing left to compute.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx, once_differentiable
from torch.nn import functional

from adaswitch.method.batching import Batch
from adaswitch.method.losses.base import Loss
from adaswitch.method.step_loss import loss_share

PIECE_ELEMENTS = {"cpu": 2**22, "cuda": 2**26}
"""The number of logits in a piece, by the kind of device: small enough to be little memory, large enough that a
matrix product is as fast as that of the whole."""


@dataclass(frozen=True)
class Head:
    """The last layer of a language model: ``logits = hidden @ weight.T + bias``, with ``weight [V', d]``."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class _Work:
    """Everything that a piece's loss needs besides its logits."""

    loss: Loss
    batch: Batch
    total_weight: float
    num_rows: int


def projected_share(
    loss: Loss, batch: Batch, hidden: Tensor, head: Head, total_weight: float, num_rows: int | None = None
) -> tuple[Tensor, Tensor]:
    """``loss_share`` of the batch, from which the gradient flows, and the loss of each token ``[n]``, which has none.

    ``hidden [n, d]`` are the head's inputs in the number type that logits are computed in. The gradients of the head
    add up in float32 (float64 for a float64 head). The loss must be one that ``is_per_token``. ``num_rows`` is c; by
    default it follows from the size of the vocabulary.
    """
    if num_rows is None:
        num_rows = max(1, PIECE_ELEMENTS.get(hidden.device.type, PIECE_ELEMENTS["cpu"]) // len(head.weight))
    work = _Work(loss, batch, total_weight, num_rows)
    share, losses = _ProjectedShare.apply(hidden, head.weight, head.bias, work)  # type: ignore[no-untyped-call]
    return share, losses


class _Context(FunctionCtx):
    needs_input_grad: tuple[bool, ...]
    grads: "_Grads | None"


class _Grads:
    """The gradients of the share with regard to hidden states and head, to which each piece adds."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, needed: tuple[bool, ...]) -> None:
        self.hidden = torch.empty_like(hidden) if needed[0] else None
        self.weight = _zeros(weight) if needed[1] else None
        self.bias = _zeros(bias) if bias is not None and needed[2] else None

    def add(self, start: int, logits_grad: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """Add the piece whose first row is ``start``. ``weight`` has the number type of ``hidden``."""
        if self.hidden is not None:
            torch.mm(logits_grad, weight, out=self.hidden[start : start + len(hidden)])
        if self.weight is not None and self.weight.dtype == hidden.dtype:
            self.weight.addmm_(logits_grad.t(), hidden)
        elif self.weight is not None:
            self.weight.add_(logits_grad.t() @ hidden)
        if self.bias is not None:
            self.bias.add_(logits_grad.sum(0, dtype=self.bias.dtype))

    def scaled(self, factor: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """All three, times ``factor``, in place: the head's are as large as the head."""
        hidden, weight, bias = (
            grad if grad is None else grad.mul_(factor.to(grad.dtype))
            for grad in (self.hidden, self.weight, self.bias)
        )
        return hidden, weight, bias


class _ProjectedShare(Function):
    @staticmethod
    def forward(
        ctx: _Context, hidden: Tensor, weight: Tensor, bias: Tensor | None, work: _Work
    ) -> tuple[Tensor, Tensor]:
        """The share and the losses; the gradients are left in ``ctx``."""
        grads = _Grads(hidden, weight, bias, ctx.needs_input_grad)
        cast = weight.to(hidden.dtype)
        cast_bias = None if bias is None else bias.to(hidden.dtype)
        shares, losses = [], []
        for start in range(0, len(hidden), work.num_rows):
            rows = hidden[start : start + work.num_rows]
            part = work.batch.part(start, start + len(rows))
            logits = functional.linear(rows, cast, cast_bias).requires_grad_()
            share, values, logits_grad = _piece(work, part, logits)
            del logits
            grads.add(start, logits_grad, rows, cast)
            shares.append(share)
            losses.append(values)
        ctx.grads = grads
        all_losses = torch.cat(losses)
        ctx.mark_non_differentiable(all_losses)
        return torch.stack(shares).sum(), all_losses

    @staticmethod
    @once_differentiable
    def backward(
        ctx: _Context, factor: Tensor, _: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """The gradients that were made on the way forward. They are given away, so there is no second time."""
        if ctx.grads is None:
            raise RuntimeError("the gradients of a projected loss can be had once")
        grads, ctx.grads = ctx.grads, None
        return (*grads.scaled(factor), None)


def _piece(work: _Work, part: Batch, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The share of a piece, the losses of its tokens, and the gradient of its ``logits [c, V']``."""
    with torch.enable_grad():
        losses = work.loss.token_losses(part, logits)
        with work.loss.differentiating():
            share = loss_share(losses, part.weights, work.total_weight)
            (logits_grad,) = torch.autograd.grad(share, logits)
    return share.detach(), losses.detach(), logits_grad


def _zeros(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))
