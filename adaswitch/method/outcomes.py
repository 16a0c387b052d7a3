"""Logits as k candidates and one outcome for all other tokens, with a hand-written gradient.

Shapes: n rows, k candidates, V tokens in the vocabulary, V' >= V columns of the logits.

PyTorch's own gradient of this function keeps and makes several ``[n, V]`` arrays. Here the forward pass needs one
block of rows at a time, which fits into a processor's cache, and the backward pass needs one array: the gradient
itself.
"""

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx, once_differentiable

BLOCK_ELEMENTS = 2**20
"""The number of logits that are worked on at once: 4 MiB in float32."""


def raw_outcomes(logits: Tensor, ids: Tensor, vocab_size: int) -> Tensor:
    """``[n, k + 1]``: the ``logits [n, V']`` at ``ids [n, k]``, and last the log-sum-exp of all other logits.

    The result is not normalised. The last column is -inf if no other token is left over. Columns from ``vocab_size``
    on are no tokens: they are ignored, and their gradient is 0. The ids of a row must be distinct. The result is
    float64 for float64 logits, and float32 otherwise.
    """
    outcomes: Tensor = _RawOutcomes.apply(logits, ids, vocab_size)  # type: ignore[no-untyped-call]
    return outcomes


class _Context(FunctionCtx):
    saved_tensors: tuple[Tensor, Tensor, Tensor]
    vocab_size: int


class _RawOutcomes(Function):
    @staticmethod
    def forward(ctx: _Context, logits: Tensor, ids: Tensor, vocab_size: int) -> Tensor:
        """The outcomes ``[n, k + 1]``, block by block."""
        blocks = zip(_blocks(logits, logits), _blocks(ids, logits), strict=True)
        outcomes = torch.cat([_outcomes(*block, vocab_size) for block in blocks])
        # Only this column is needed later. As a view it would keep the whole array in memory, so it is copied.
        ctx.save_for_backward(logits, ids, outcomes[:, ids.shape[-1] :].clone())
        ctx.vocab_size = vocab_size
        return outcomes

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the logits, block by block. The ids and the vocabulary's size have no gradient."""
        logits, ids, others = ctx.saved_tensors
        result = torch.zeros_like(logits)
        blocks = (_blocks(rows, logits) for rows in (result, logits, ids, others, grad))
        for block, x, candidates, rest, g in zip(*blocks, strict=True):
            block[:, : ctx.vocab_size] = _gradient(_real(x, ctx.vocab_size), candidates, rest, g)
        return result, None, None


def _blocks(rows: Tensor, logits: Tensor) -> list[Tensor]:
    """``rows`` cut into the blocks into which ``logits`` are cut."""
    return list(rows.split(max(1, BLOCK_ELEMENTS // logits.shape[-1])))


def _real(logits: Tensor, vocab_size: int) -> Tensor:
    real = logits[:, :vocab_size]
    return real if real.dtype == torch.float64 else real.float()


def _outcomes(logits: Tensor, ids: Tensor, vocab_size: int) -> Tensor:
    real = _real(logits, vocab_size)
    # A log-sum-exp over the other tokens, unlike log(1 - sum), is exact even if the candidates hold nearly all
    # probability.
    others = real.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([real.gather(-1, ids), others], dim=-1)


def _gradient(real: Tensor, ids: Tensor, others: Tensor, grad: Tensor) -> Tensor:
    k = ids.shape[-1]
    # If no other token is left over, this makes the share exp(-inf - 0) = 0, and not exp(-inf + inf) = NaN.
    others = others.masked_fill(others.isneginf(), 0.0)
    # The gradient of a log-sum-exp is the share of each logit in it. The values at the candidates are overwritten.
    shares = (real - others).exp_().mul_(grad[:, k:])
    return shares.scatter_(-1, ids, grad[:, :k])
