"""What holds of every loss whatever the numbers: bounds, limits, invariances, and micro-batches."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adaswitch.method.batching import Batch, make_batch
from adaswitch.method.distribution import top_k
from adaswitch.method.losses.base import DivergenceLoss, Loss, retempered
from adaswitch.method.losses.cross_entropy import CrossEntropy
from adaswitch.method.losses.forward_kl import ForwardKL
from adaswitch.method.losses.jsd import JSD
from adaswitch.method.losses.reverse_kl import ReverseKL
from adaswitch.method.losses.skewed_kl import SkewedKL
from adaswitch.method.losses.skewed_reverse_kl import SkewedReverseKL
from adaswitch.method.losses.total_variation import TotalVariation
from adaswitch.method.packing import sized_rows
from adaswitch.method.rollout import Rollout
from adaswitch.method.step_loss import loss_share, total_weight, weighed
from tests.fakes import random_rollout

V = 9
SEEDS, SHARPNESS, TEMPERATURES = st.integers(0, 10**6), st.floats(0.1, 5), st.floats(0.3, 10)
DIVERGENCES: list[type[DivergenceLoss]] = [
    ForwardKL,
    ReverseKL,
    JSD,
    SkewedKL,
    SkewedReverseKL,
    TotalVariation,
]
each_divergence = pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda kind: kind.__name__)


def some_logits(seed: int, rows: int, sharpness: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sharpness * torch.randn(rows, V, generator=generator, dtype=torch.float64)


def batch_of(teacher_logits: Tensor, k: int = V) -> Batch:
    """One rollout, whose teacher has these logits."""
    rollout = random_rollout(0, num_student=len(teacher_logits), num_teacher=0, vocab_size=V)
    return make_batch([replace(rollout, teacher=top_k(teacher_logits.log_softmax(-1), k))])


@each_divergence
@given(seed=SEEDS, sharpness=SHARPNESS, k=st.integers(1, V), temperature=TEMPERATURES)
def test_never_negative(
    divergence: type[DivergenceLoss], seed: int, sharpness: float, k: int, temperature: float
) -> None:
    batch = batch_of(some_logits(seed, 4, sharpness), k)
    values = divergence(temperature=temperature).token_losses(batch, some_logits(seed + 1, 4, sharpness))
    assert (values >= -1e-6).all()


@each_divergence
@given(seed=SEEDS, gap=st.floats(0.05, 3), temperature=TEMPERATURES)
def test_zero_where_both_agree_and_nowhere_else(
    divergence: type[DivergenceLoss], seed: int, gap: float, temperature: float
) -> None:
    logits = some_logits(seed, 4, 1.0)
    batch, config = batch_of(logits), divergence(temperature=temperature)
    assert config.token_losses(batch, logits).abs().max() < 2e-6
    # A constant added to all logits is the same distribution, added to one it is another.
    assert config.token_losses(batch, logits + 7).abs().max() < 2e-6
    other = logits.clone()
    other[:, 3] += gap
    probability = (logits / temperature).softmax(-1)[:, 3]
    distance = ((other / temperature).softmax(-1)[:, 3] - probability).abs()
    # From Pinsker's inequality; the weakest of the six is JSD's.
    assert (config.token_losses(batch, other) >= distance**2 / 2 - 1e-6).all()
    assert (distance > 0).all()


@each_divergence
@given(seed=SEEDS, sharpness=st.floats(0.1, 3), k=st.integers(1, V))
def test_candidates_and_tail_are_a_lower_bound_and_exact_with_all_tokens(
    divergence: type[DivergenceLoss], seed: int, sharpness: float, k: int
) -> None:
    teacher, student = some_logits(seed, 4, sharpness), some_logits(seed + 1, 4, sharpness)
    coarse = divergence().token_losses(batch_of(teacher, k), student)
    full = divergence().token_losses(batch_of(teacher, V), student)
    # The last digits of the teacher's tail are float32's rounding, and reverse KL looks at its logarithm.
    assert (coarse <= full + 1e-4 * (1 + full)).all()
    finer = divergence().token_losses(batch_of(teacher, min(k + 1, V)), student)
    assert (coarse <= finer + 1e-4 * (1 + full)).all()


@given(seed=SEEDS, sharpness=st.floats(0.1, 1.5))
def test_jsd_and_the_skewed_ones_tend_to_both_kl(seed: int, sharpness: float) -> None:
    batch, student = batch_of(some_logits(seed, 4, sharpness)), some_logits(seed + 1, 4, sharpness)
    # In float64 throughout: the limit of JSD is a quotient of two numbers that are next to nothing.
    batch = replace(batch, teacher_logprobs=batch.teacher_logprobs.double().log_softmax(-1))
    forward, reverse = (kind().token_losses(batch, student) for kind in (ForwardKL, ReverseKL))
    tiny = 1e-6
    limits: list[tuple[Loss, float, Tensor]] = [
        (SkewedKL(alpha=tiny), 1.0, forward),
        (SkewedReverseKL(alpha=tiny), 1.0, reverse),
        (JSD(beta=tiny), tiny, forward),
        (JSD(beta=1 - tiny), tiny, reverse),
    ]
    for config, scale, limit in limits:
        near = config.token_losses(batch, student) / scale
        # The mixture is off by tiny times the ratio of p and q, a few thousand at most.
        torch.testing.assert_close(near, limit, rtol=1e-2, atol=1e-4)


@given(seed=SEEDS, sharpness=SHARPNESS, k=st.integers(1, V), temperature=TEMPERATURES)
def test_total_variation_is_within_one_and_pinskers(
    seed: int, sharpness: float, k: int, temperature: float
) -> None:
    batch, student = batch_of(some_logits(seed, 4, sharpness), k), some_logits(seed + 1, 4, sharpness)
    values = TotalVariation(temperature=temperature).token_losses(batch, student)
    assert ((values >= 0) & (values <= 1 + 1e-6)).all()
    for kind in (ForwardKL, ReverseKL):
        assert (values**2 <= kind(temperature=temperature).token_losses(batch, student) / 2 + 1e-6).all()


@each_divergence
@given(seed=SEEDS, sharpness=SHARPNESS, temperature=TEMPERATURES)
def test_a_temperature_is_both_sides_logits_scaled(
    divergence: type[DivergenceLoss], seed: int, sharpness: float, temperature: float
) -> None:
    teacher, student = some_logits(seed, 4, sharpness), some_logits(seed + 1, 4, sharpness)
    tempered = divergence(temperature=temperature).token_losses(batch_of(teacher), student)
    scaled = divergence().token_losses(batch_of(teacher / temperature), student / temperature)
    torch.testing.assert_close(tempered, scaled, rtol=1e-4, atol=1e-5)


@given(seed=SEEDS, sharpness=SHARPNESS, one=TEMPERATURES, two=TEMPERATURES)
def test_temperatures_multiply(seed: int, sharpness: float, one: float, two: float) -> None:
    logprobs = some_logits(seed, 4, sharpness).log_softmax(-1)
    once = retempered(logprobs, one * two)
    torch.testing.assert_close(retempered(retempered(logprobs, one), two), once)
    torch.testing.assert_close(once.exp().sum(-1), torch.ones(4, dtype=torch.float64))


@each_divergence
@given(seed=SEEDS, share=st.floats(0, 1), temperature=TEMPERATURES)
def test_a_mix_lies_between_its_two_losses(
    divergence: type[DivergenceLoss], seed: int, share: float, temperature: float
) -> None:
    batch, student = batch_of(some_logits(seed, 4, 2.0), 3), some_logits(seed + 1, 4, 2.0)
    mixed, alone = (
        divergence(temperature=temperature, cross_entropy_weight=weight).token_losses(batch, student)
        for weight in (share, 0.0)
    )
    on_tokens = CrossEntropy().token_losses(batch, student)
    torch.testing.assert_close(mixed, alone + share * (on_tokens - alone), rtol=1e-6, atol=1e-6)


STEPS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(any), min_size=1, max_size=6)
"""The student's and the teacher's tokens of each rollout of a step."""
WEIGHT = st.just(0.0) | st.floats(0.001, 1000)
WEIGHTS = st.tuples(WEIGHT, WEIGHT).filter(any)
KINDS: list[type[Loss]] = [*DIVERGENCES, CrossEntropy]


def step_loss(config: Loss, batches: Sequence[Batch], logits: Tensor, weight: float) -> Tensor:
    """As the trainer adds it up; ``logits`` of all tokens in their order."""
    parts = logits.split([batch.num_tokens for batch in batches])
    shares = [
        loss_share(config.token_losses(batch, part), batch.weights, weight)
        for batch, part in zip(batches, parts, strict=True)
    ]
    return torch.stack(shares).sum()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(lengths=STEPS, size=st.integers(1, 6), weights=WEIGHTS, seed=SEEDS)
def test_micro_batches_change_neither_loss_nor_gradient(
    kind: type[Loss],
    lengths: list[tuple[int, int]],
    size: int,
    weights: tuple[float, float],
    seed: int,
) -> None:
    config = kind(exploration_weight=weights[0], guidance_weight=weights[1])
    step: list[Rollout] = [
        random_rollout(seed + i, num_student=s, num_teacher=t, vocab_size=V, num_prompt=1 + i)
        for i, (s, t) in enumerate(lengths)
    ]
    step = weighed(config, step)
    total = total_weight(step)
    whole = make_batch(step)
    logits = some_logits(seed, whole.num_tokens, 2.0).requires_grad_()
    losses, gradients = [], []
    for batches in ([whole], [make_batch(row) for row in sized_rows(step, size)]):
        loss = step_loss(config, batches, logits, total)
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, logits)[0])
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(gradients[1], gradients[0])
    # And it is the weighted mean, said in the plainest words.
    values = config.token_losses(whole, logits).tolist()
    each = [weights[1] if written else weights[0] for written in whole.by_teacher.tolist()]
    expected = sum(w * value for w, value in zip(each, values, strict=True)) / (sum(each) or 1)
    assert losses[0].item() == pytest.approx(expected, rel=1e-5, abs=1e-9)
