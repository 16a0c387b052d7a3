"""Raw outcomes: values and the hand-written gradient against PyTorch's own, in blocks, at every edge."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adaswitch.method import outcomes
from adaswitch.method.outcomes import raw_outcomes

V = 7


def plain(logits: Tensor, ids: Tensor, vocab_size: int) -> Tensor:
    """The same, left to autograd."""
    real = logits[:, :vocab_size].double()
    others = real.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([real.gather(-1, ids), others], dim=-1)


def random_case(seed: int, k: int, sharpness: float, rows: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``[rows, V + 2]``, ids ``[rows, k]`` and a gradient ``[rows, k + 1]``."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(rows, V + 2, generator=generator)
    ids = torch.rand(rows, V, generator=generator).argsort(-1)[:, :k]
    return logits, ids, torch.randn(rows, k + 1, generator=generator)


def gradient(logits: Tensor, ids: Tensor, grad: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    raw_outcomes(logits, ids, V).backward(grad)
    assert logits.grad is not None
    return logits.grad


@given(seed=st.integers(0, 10**6), k=st.integers(1, V), sharpness=st.floats(0, 40))
def test_value_and_gradient_are_autograds(seed: int, k: int, sharpness: float) -> None:
    logits, ids, grad = random_case(seed, k, sharpness)
    torch.testing.assert_close(
        raw_outcomes(logits, ids, V).double(), plain(logits, ids, V), rtol=2e-6, atol=1e-6
    )
    if k == V:
        grad[:, V] = 0  # autograd's own gradient of an empty log-sum-exp is 0 times whatever comes
    slow = logits.double().requires_grad_()
    plain(slow, ids, V).backward(grad.double())
    assert slow.grad is not None
    torch.testing.assert_close(gradient(logits, ids, grad).double(), slow.grad, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, V])
def test_the_gradient_equals_finite_differences(k: int) -> None:
    logits, ids, _ = random_case(0, k, 2.0)
    exact = logits.double().requires_grad_()
    # At k = V the last outcome is -inf whatever the logits are.
    assert torch.autograd.gradcheck(lambda x: raw_outcomes(x, ids, V)[:, : min(k + 1, V)], exact)


@pytest.mark.parametrize("block_elements", [1, 2 * (V + 2), 3 * (V + 2), 5 * (V + 2)])
@pytest.mark.parametrize("k", [2, V])
def test_blocks_change_nothing(k: int, block_elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, ids, grad = random_case(1, k, 2.0)
    value, slope = raw_outcomes(logits, ids, V), gradient(logits, ids, grad)
    monkeypatch.setattr(outcomes, "BLOCK_ELEMENTS", block_elements)
    torch.testing.assert_close(raw_outcomes(logits, ids, V), value)
    torch.testing.assert_close(gradient(logits, ids, grad), slope)


def test_columns_that_are_no_tokens_have_no_gradient() -> None:
    logits, ids, grad = random_case(2, 3, 1.0)
    logits[:, V:] = torch.tensor([torch.inf, torch.nan])
    slope = gradient(logits, ids, grad)
    assert (slope[:, V:] == 0).all()
    assert slope.isfinite().all()


def test_nothing_left_over() -> None:
    # Every other token is ruled out: the last outcome is impossible, and no NaN comes back.
    logits = torch.full((1, V), -torch.inf)
    logits[0, :2] = torch.tensor([1.0, 500.0])
    ids = torch.tensor([[1, 0]])
    assert raw_outcomes(logits, ids, V).tolist() == [[500.0, 1.0, -math.inf]]
    assert gradient(logits, ids, torch.tensor([[0.5, -0.25, 0.0]])).tolist() == [[-0.25, 0.5] + [0.0] * 5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_worked_out_in_single(dtype: torch.dtype) -> None:
    logits, ids, grad = random_case(3, 3, 2.0)
    half = logits.to(dtype)
    value = raw_outcomes(half, ids, V)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, raw_outcomes(half.float(), ids, V), rtol=0, atol=0)
    slope = gradient(half, ids, grad)
    assert slope.dtype == dtype
    torch.testing.assert_close(slope, gradient(half.float(), ids, grad).to(dtype), rtol=0, atol=0)


def test_no_rows() -> None:
    logits = torch.zeros(0, V, requires_grad=True)
    value = raw_outcomes(logits, torch.zeros(0, 2, dtype=torch.long), V)
    assert value.shape == (0, 3)
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad.shape == (0, V)
