"""Token losses: closed forms of value and gradient, and a mean that micro-batches do not change."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from adaswitch.batching import Batch, make_batch, micro_batches
from adaswitch.config import (
    CrossEntropyConfig,
    ForwardKLConfig,
    JSDConfig,
    LossConfig,
    ReverseKLConfig,
)
from adaswitch.distribution import TopK, top_k
from adaswitch.losses import cross_entropy, token_losses
from adaswitch.rollout import Rollout
from tests.fakes import random_rollout

V = 11
LOSSES = [ForwardKLConfig(), ReverseKLConfig(), JSDConfig(), JSDConfig(beta=0.1), CrossEntropyConfig()]
each_loss = pytest.mark.parametrize("config", LOSSES, ids=repr)


def rollouts(k: int = 4) -> list[Rollout]:
    shapes = [(4, 3), (0, 5), (2, 0), (1, 1), (6, 6)]
    return [random_rollout(i, num_student=s, num_teacher=t, k=k) for i, (s, t) in enumerate(shapes)]


def student_logits(num_tokens: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(num_tokens, V, generator=torch.Generator().manual_seed(seed))


def one_token(p: list[float], token: int, vocab_size: int) -> Batch:
    """A batch of one token whose teacher's first candidates have probabilities ``p``."""
    rollout = replace(
        random_rollout(0, num_student=1, num_teacher=0),
        completion_token_ids=(token,),
        teacher=TopK(torch.arange(len(p))[None], torch.tensor([p]).log(), vocab_size),
    )
    return make_batch([rollout])


def slow(config: LossConfig, p: Tensor, q: Tensor, token: int) -> Tensor:
    """Of one token, over given outcomes in float64; ``q`` holds the student's full distribution for SFT."""
    match config:
        case CrossEntropyConfig():
            return -q[token].log()
        case ForwardKLConfig():
            return (p * (p / q).log()).sum()
        case ReverseKLConfig():
            return (q * (q / p).log()).sum()
        case JSDConfig(beta=beta):
            mixture = beta * p + (1 - beta) * q
            return beta * (p * (p / mixture).log()).sum() + (1 - beta) * (q * (q / mixture).log()).sum()


def test_every_loss_of_the_settings_is_tested() -> None:
    union = get_args(LossConfig)[0]
    assert {type(config) for config in LOSSES} == set(get_args(union))


def test_values_by_hand() -> None:
    batch = one_token([0.5, 0.3], token=1, vocab_size=4)
    logits = torch.tensor([[0.2, 0.2, 0.3, 0.3]]).log()
    # Over the two candidates and the tail: p = (.5, .3, .2), q = (.2, .2, .6).
    forward = 0.5 * math.log(2.5) + 0.3 * math.log(1.5) - 0.2 * math.log(3)
    reverse = -0.2 * math.log(2.5) - 0.2 * math.log(1.5) + 0.6 * math.log(3)
    assert token_losses(ForwardKLConfig(), batch, logits).item() == pytest.approx(forward, rel=1e-5)
    assert token_losses(ReverseKLConfig(), batch, logits).item() == pytest.approx(reverse, rel=1e-5)
    assert token_losses(CrossEntropyConfig(), batch, logits).item() == pytest.approx(math.log(5), rel=1e-5)


def test_the_gradient_of_forward_kl_by_hand() -> None:
    batch = one_token([0.5, 0.3], token=1, vocab_size=4)
    logits = torch.tensor([[0.2, 0.2, 0.3, 0.3]]).log().requires_grad_()
    token_losses(ForwardKLConfig(), batch, logits).sum().backward()
    # q - p on the candidates; the tail's q - p is shared out as the student does.
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.3, -0.1, 0.2, 0.2]]))


def test_the_gradient_of_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.2, 0.2, 0.6]]).log().requires_grad_()
    cross_entropy(logits, torch.tensor([2]), 3).sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.2, 0.2, -0.4]]))


@each_loss
@pytest.mark.parametrize("k", [1, 4, V])
def test_values_and_gradients_equal_the_slow_version(config: LossConfig, k: int) -> None:
    batch = make_batch(rollouts(k))
    fast = student_logits(batch.num_tokens).requires_grad_()
    values = token_losses(config, batch, fast)
    values.sum().backward()
    exact = fast.detach().double().requires_grad_()
    expected = []
    for i in range(batch.num_tokens):
        q, p = exact[i].softmax(-1), batch.teacher_logprobs[i].double().exp()
        if isinstance(config, CrossEntropyConfig):
            outcomes = q
        else:
            ids = batch.top_ids[i]
            outcomes = q[ids] if k == V else torch.cat([q[ids], (1 - q[ids].sum())[None]])
            p = p[: len(outcomes)]
        expected.append(slow(config, p, outcomes, int(batch.token_ids[i])))
    torch.stack(expected).sum().backward()
    torch.testing.assert_close(values.double(), torch.stack(expected), rtol=1e-5, atol=1e-6)
    assert fast.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(fast.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


@each_loss
def test_padding_rows_change_neither_value_nor_gradient(config: LossConfig) -> None:
    batch = make_batch(rollouts())
    logits = student_logits(batch.num_tokens)
    padded = torch.cat([logits, torch.full((batch.num_tokens, 2), 50.0)], dim=-1).requires_grad_()
    values = token_losses(config, batch, padded)
    torch.testing.assert_close(values, token_losses(config, batch, logits))
    values.sum().backward()
    assert padded.grad is not None
    assert (padded.grad[:, V:] == 0).all()


@pytest.mark.parametrize("config", LOSSES[:4], ids=repr)
def test_a_student_that_equals_its_teacher_has_neither_loss_nor_gradient(config: LossConfig) -> None:
    rollout = random_rollout(0)
    logits = student_logits(rollout.num_tokens).requires_grad_()
    batch = make_batch([replace(rollout, teacher=top_k(logits.detach().log_softmax(-1), 4))])
    values = token_losses(config, batch, logits)
    values.sum().backward()
    torch.testing.assert_close(values, torch.zeros_like(values), rtol=0, atol=2e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 2e-6


@each_loss
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_mean_over_all_tokens_does_not_depend_on_micro_batches(config: LossConfig, size: int) -> None:
    whole = make_batch(rollouts())
    logits = student_logits(whole.num_tokens).requires_grad_()
    token_losses(config, whole, logits).mean().backward()
    expected = logits.grad
    logits.grad = None
    start = 0
    for batch in micro_batches(rollouts(), size):
        part = logits[start : start + batch.num_tokens]
        (token_losses(config, batch, part).sum() / whole.num_tokens).backward()
        start += batch.num_tokens
    assert expected is not None
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected)


@each_loss
def test_half_precision_logits_are_worked_out_in_single(config: LossConfig) -> None:
    batch = make_batch(rollouts())
    logits = student_logits(batch.num_tokens).bfloat16()
    torch.testing.assert_close(
        token_losses(config, batch, logits), token_losses(config, batch, logits.float()), rtol=0, atol=0
    )
