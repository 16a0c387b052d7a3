"""Logits seen as k candidates and one outcome for all the others, with a gradient of its own.

Shapes: n rows, k candidates, V tokens in the vocabulary, V' >= V columns of the logits.

PyTorch's own gradient of this keeps and makes several ``[n, V]`` arrays. Here the way forward needs one block
of rows at a time, which fits into a processor's cache, and the way back one array: the gradient itself.
"""

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx, once_differentiable

BLOCK_ELEMENTS = 2**20
"""Logits that are worked on at once: 4 MiB in float32."""


def raw_outcomes(logits: Tensor, ids: Tensor, vocab_size: int) -> Tensor:
    """Of ``logits [n, V']``: those at ``ids [n, k]``, and last the log-sum-exp of the others ``[n, k + 1]``.

    Not normalised. The last is -inf where nothing is left over. Columns from ``vocab_size`` on are no tokens:
    ignored, their gradient is 0. The ids of a row are distinct. In float32; in float64 for float64 logits.
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
        # A copy, so that all the candidates' need not be kept for the sake of one column.
        ctx.save_for_backward(logits, ids, outcomes[:, ids.shape[-1] :].clone())
        ctx.vocab_size = vocab_size
        return outcomes

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient by the logits, block by block; ids and the vocabulary's size have none."""
        logits, ids, others = ctx.saved_tensors
        result = torch.zeros_like(logits)
        blocks = (_blocks(rows, logits) for rows in (result, logits, ids, others, grad))
        for block, x, candidates, rest, g in zip(*blocks, strict=True):
            block[:, : ctx.vocab_size] = _gradient(_real(x, ctx.vocab_size), candidates, rest, g)
        return result, None, None


def _blocks(rows: Tensor, logits: Tensor) -> list[Tensor]:
    """``rows`` cut in the same way as ``logits``."""
    return list(rows.split(max(1, BLOCK_ELEMENTS // logits.shape[-1])))


def _real(logits: Tensor, vocab_size: int) -> Tensor:
    real = logits[:, :vocab_size]
    return real if real.dtype == torch.float64 else real.float()


def _outcomes(logits: Tensor, ids: Tensor, vocab_size: int) -> Tensor:
    real = _real(logits, vocab_size)
    # Over the others themselves, and not log(1 - sum): exact where the candidates hold nearly everything.
    others = real.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([real.gather(-1, ids), others], dim=-1)


def _gradient(real: Tensor, ids: Tensor, others: Tensor, grad: Tensor) -> Tensor:
    k = ids.shape[-1]
    # Where nothing is left over: exp(-inf - 0) = 0, and not exp(-inf + inf).
    others = others.masked_fill(others.isneginf(), 0.0)
    # The gradient of a log-sum-exp is each one's share of it. What stands at the candidates is overwritten.
    shares = (real - others).exp_().mul_(grad[:, k:])
    return shares.scatter_(-1, ids, grad[:, :k])
