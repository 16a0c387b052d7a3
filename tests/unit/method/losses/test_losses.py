"""Token losses: closed forms of value and gradient, a slow float64 version, temperature, mixing, weights."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from adaswitch.method.batching import Batch, make_batch
from adaswitch.method.distribution import TopK, outcome_logprobs_of, top_k
from adaswitch.method.losses import LOSSES as ALL_LOSSES
from adaswitch.method.losses.base import DivergenceLoss, Loss, retempered
from adaswitch.method.losses.cross_entropy import CrossEntropy
from adaswitch.method.losses.custom import CustomLoss
from adaswitch.method.losses.forward_kl import ForwardKL
from adaswitch.method.losses.jsd import JSD
from adaswitch.method.losses.reverse_kl import ReverseKL
from adaswitch.method.losses.skewed_kl import SkewedKL
from adaswitch.method.losses.skewed_reverse_kl import SkewedReverseKL
from adaswitch.method.losses.total_variation import TotalVariation
from adaswitch.method.rollout import Rollout
from adaswitch.method.step_loss import loss_share, total_weight, weighed
from tests.fakes import random_rollout

V = 11
DIVERGENCES: list[DivergenceLoss] = [
    ForwardKL(),
    ReverseKL(),
    JSD(),
    JSD(beta=0.1),
    SkewedKL(),
    SkewedReverseKL(alpha=0.3),
    TotalVariation(),
]
MODIFIED: list[DivergenceLoss] = [
    ForwardKL(temperature=2.0),
    ReverseKL(temperature=0.5),
    SkewedReverseKL(temperature=3.0, cross_entropy_weight=0.25),
    TotalVariation(cross_entropy_weight=0.75),
    JSD(cross_entropy_weight=1.0),
]
LOSSES: list[Loss] = [*DIVERGENCES, *MODIFIED, CrossEntropy()]
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


def value_and_gradient(config: Loss, batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    values = config.token_losses(batch, logits)
    values.sum().backward()
    assert logits.grad is not None
    return values.detach(), logits.grad


def slow_divergence(config: DivergenceLoss, p: Tensor, q: Tensor) -> Tensor:
    """Of probabilities over given outcomes ``[m]``, at temperature 1."""
    match config:
        case ForwardKL():
            return (p * (p / q).log()).sum()
        case ReverseKL():
            return (q * (q / p).log()).sum()
        case JSD(beta=beta):
            mixture = beta * p + (1 - beta) * q
            return beta * (p * (p / mixture).log()).sum() + (1 - beta) * (q * (q / mixture).log()).sum()
        case SkewedKL(alpha=alpha):
            return (p * (p / (alpha * p + (1 - alpha) * q)).log()).sum()
        case SkewedReverseKL(alpha=alpha):
            return (q * (q / ((1 - alpha) * p + alpha * q)).log()).sum()
        case TotalVariation():
            return (p - q).abs().sum() / 2


def slow(config: Loss, p: Tensor, q: Tensor, ids: Tensor, token: int) -> Tensor:
    """Of one token: ``p [k + 1]`` are the teacher's outcomes, ``q [V]`` is the student's full distribution."""
    on_token = -q[token].log()
    if isinstance(config, CrossEntropy):
        return on_token
    if len(ids) == len(q):
        p, q = p[: len(ids)], q[ids]
    else:
        q = torch.cat([q[ids], (1 - q[ids].sum())[None]])
    p, q = p ** (1 / config.temperature), q ** (1 / config.temperature)
    divergence = slow_divergence(config, p / p.sum(), q / q.sum())
    return (1 - config.cross_entropy_weight) * divergence + config.cross_entropy_weight * on_token


def test_every_loss_of_the_settings_is_tested() -> None:
    # One's own has no formula here: it has tests of its own.
    assert {type(config) for config in LOSSES} == set(ALL_LOSSES) - {CustomLoss}
    assert {type(config) for config in DIVERGENCES} == {
        loss for loss in ALL_LOSSES if issubclass(loss, DivergenceLoss)
    }


def test_values_by_hand() -> None:
    batch = one_token([0.5, 0.3], token=1, vocab_size=4)
    logits = torch.tensor([[0.2, 0.2, 0.3, 0.3]]).log()
    # Over the two candidates and the tail: p = (.5, .3, .2), q = (.2, .2, .6).
    by_hand: dict[Loss, float] = {
        ForwardKL(): 0.5 * math.log(2.5) + 0.3 * math.log(1.5) - 0.2 * math.log(3),
        ReverseKL(): -0.2 * math.log(2.5) - 0.2 * math.log(1.5) + 0.6 * math.log(3),
        # Mixtures: p's half (.35, .25, .4).
        SkewedKL(alpha=0.5): 0.5 * math.log(10 / 7) + 0.3 * math.log(6 / 5) - 0.2 * math.log(2),
        SkewedReverseKL(alpha=0.5): 0.2 * math.log(4 / 7) + 0.2 * math.log(4 / 5) + 0.6 * math.log(1.5),
        TotalVariation(): 0.4,
        CrossEntropy(): math.log(5),
        TotalVariation(cross_entropy_weight=0.25): 0.75 * 0.4 + 0.25 * math.log(5),
    }
    for config, value in by_hand.items():
        assert config.token_losses(batch, logits).item() == pytest.approx(value, rel=1e-5), config


def test_the_gradient_of_forward_kl_by_hand() -> None:
    batch = one_token([0.5, 0.3], token=1, vocab_size=4)
    logits = torch.tensor([[0.2, 0.2, 0.3, 0.3]]).log()
    # q - p on the candidates; the tail's q - p is shared out as the student does.
    expected = torch.tensor([[-0.3, -0.1, 0.2, 0.2]])
    torch.testing.assert_close(value_and_gradient(ForwardKL(), batch, logits)[1], expected)
    # Half of it, and half of the cross entropy's q - 1 at the token.
    mixed = value_and_gradient(ForwardKL(cross_entropy_weight=0.5), batch, logits)[1]
    on_token = torch.tensor([[0.2, -0.8, 0.3, 0.3]])
    torch.testing.assert_close(mixed, (expected + on_token) / 2)


def derivative(config: DivergenceLoss, p: Tensor, q: Tensor) -> Tensor:
    """Of the divergence by each of ``q [m]``, worked out with pencil and paper; up to a constant, which drops out."""
    match config:
        case ForwardKL():
            return -p / q
        case ReverseKL():
            return (q / p).log()
        case JSD(beta=beta):
            return (1 - beta) * (q / (beta * p + (1 - beta) * q)).log()
        case SkewedKL(alpha=alpha):
            return -(1 - alpha) * p / (alpha * p + (1 - alpha) * q)
        case SkewedReverseKL(alpha=alpha):
            mixture = (1 - alpha) * p + alpha * q
            return (q / mixture).log() - alpha * q / mixture
        case TotalVariation():
            return (q - p).sign() / 2


@pytest.mark.parametrize("k", [4, V])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("config", DIVERGENCES, ids=repr)
def test_the_gradient_of_every_divergence_in_closed_form(
    config: DivergenceLoss, temperature: float, k: int
) -> None:
    """At logit j of outcome o: (r_o / T) (D'_o - sum r D') q_j / q_o, with r the tempered q."""
    batch = make_batch(rollouts(k))
    logits = student_logits(batch.num_tokens)
    _, found = value_and_gradient(config.model_copy(update={"temperature": temperature}), batch, logits)
    for n in range(batch.num_tokens):
        num_outcomes = k if k == V else k + 1  # with all tokens as candidates nothing is left for the tail
        p = batch.teacher_logprobs[n, :num_outcomes].double().exp()
        q_full, outcome = logits[n].double().softmax(-1), torch.full((V,), k)
        outcome[batch.top_ids[n]] = torch.arange(k)
        q = torch.zeros(len(p), dtype=torch.float64).index_add(0, outcome, q_full)
        p, r = (side ** (1 / temperature) for side in (p, q))
        p, r = p / p.sum(), r / r.sum()
        slope = derivative(config, p, r)
        by_outcome = r / temperature * (slope - (r * slope).sum())
        expected = (by_outcome / q)[outcome] * q_full
        torch.testing.assert_close(found[n].double(), expected, rtol=2e-4, atol=2e-6)


def test_the_gradient_of_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.2, 0.2, 0.6]]).log().requires_grad_()
    (-outcome_logprobs_of(logits, torch.tensor([[2]]), 3)[:, 0]).sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.2, 0.2, -0.4]]))


def test_temperature_by_hand() -> None:
    batch = one_token([0.64, 0.32], token=1, vocab_size=4)
    logits = torch.tensor([[0.36, 0.6, 0.01, 0.03]]).log()
    # At T = 2 square roots, made to sum to 1: of p = (.64, .32, .04) and of q = (.36, .6, .04).
    p, q = (torch.tensor(x).sqrt() for x in ([0.64, 0.32, 0.04], [0.36, 0.6, 0.04]))
    p, q = p / p.sum(), q / q.sum()
    value, gradient = value_and_gradient(ForwardKL(temperature=2.0), batch, logits)
    assert value.item() == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-5)
    # (q - p) / T: no factor of T^2. The tail's share goes to its two tokens as 1 : 3.
    by_outcome = (q - p) / 2
    expected = torch.cat([by_outcome[:2], by_outcome[2] * torch.tensor([0.25, 0.75])])
    torch.testing.assert_close(gradient, expected[None], rtol=1e-4, atol=1e-6)


def test_with_all_tokens_as_candidates_temperature_scales_logits() -> None:
    logits, teacher_logits = student_logits(3), student_logits(3, seed=1)
    outcomes = retempered(top_k(teacher_logits.log_softmax(-1), V).outcome_logprobs(), 2.5)
    expected = (teacher_logits / 2.5).log_softmax(-1).sort(-1, descending=True).values
    torch.testing.assert_close(outcomes[:, :V], expected)
    assert (outcomes[:, V] == -math.inf).all()
    assert retempered(logits, 1.0) is logits


@each_loss
@pytest.mark.parametrize("k", [1, 4, V])
def test_values_and_gradients_equal_the_slow_version(config: Loss, k: int) -> None:
    batch = make_batch(rollouts(k))
    values, gradient = value_and_gradient(config, batch, student_logits(batch.num_tokens))
    exact = student_logits(batch.num_tokens).double().requires_grad_()
    rows = zip(
        batch.teacher_logprobs.double().exp(), exact.softmax(-1), batch.top_ids, batch.token_ids, strict=True
    )
    expected = torch.stack([slow(config, p, q, ids, int(token)) for p, q, ids, token in rows])
    expected.sum().backward()
    assert exact.grad is not None
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-4, atol=1e-6)


@each_loss
def test_padding_rows_change_neither_value_nor_gradient(config: Loss) -> None:
    batch = make_batch(rollouts())
    logits = student_logits(batch.num_tokens)
    padded = torch.cat([logits, torch.full((batch.num_tokens, 2), 50.0)], dim=-1)
    values, gradient = value_and_gradient(config, batch, padded)
    expected_values, expected_gradient = value_and_gradient(config, batch, logits)
    torch.testing.assert_close(values, expected_values)
    torch.testing.assert_close(gradient[:, :V], expected_gradient)
    assert (gradient[:, V:] == 0).all()


@pytest.mark.parametrize("config", DIVERGENCES, ids=repr)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_student_that_equals_its_teacher_has_neither_loss_nor_gradient(
    config: DivergenceLoss, temperature: float
) -> None:
    config = config.model_copy(update={"temperature": temperature})
    rollout = random_rollout(0)
    logits = student_logits(rollout.num_tokens)
    batch = make_batch([replace(rollout, teacher=top_k(logits.log_softmax(-1), 4))])
    values, gradient = value_and_gradient(config, batch, logits)
    torch.testing.assert_close(values, torch.zeros_like(values), rtol=0, atol=2e-6)
    # Total variation has a kink there: rounding alone decides on which side of it a token is.
    if not isinstance(config, TotalVariation):
        assert gradient.abs().max() < 4e-6


@each_loss
def test_half_precision_logits_are_worked_out_in_single(config: Loss) -> None:
    batch = make_batch(rollouts())
    logits = student_logits(batch.num_tokens).bfloat16()
    values, gradient = value_and_gradient(config, batch, logits)
    expected_values, expected_gradient = value_and_gradient(config, batch, logits.float())
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, expected_values, rtol=0, atol=0)
    # Cross entropy beside a divergence is added to it in the logits' own precision.
    torch.testing.assert_close(gradient.float(), expected_gradient, rtol=2e-2, atol=1e-3)


@each_loss
@pytest.mark.parametrize("head", [20.0, 60.0, 200.0])
@pytest.mark.parametrize("agree", [True, False])
def test_certainty_on_either_side_makes_no_nan(config: Loss, head: float, agree: bool) -> None:
    # The student's other tokens, and all of the teacher's tail, underflow.
    batch = one_token([1.0 - 1e-7, 1e-30], token=0, vocab_size=4)
    logits = torch.zeros(1, 4)
    logits[0, 0 if agree else 3] = head
    values, gradient = value_and_gradient(config, batch, logits)
    assert values.isfinite().all()
    assert gradient.isfinite().all()


@each_loss
def test_tokens_that_the_student_rules_out_make_no_nan_in_the_gradient(config: Loss) -> None:
    batch = one_token([0.6, 0.3], token=0, vocab_size=4)
    values, gradient = value_and_gradient(config, batch, torch.tensor([[0.5, 0.0, -torch.inf, -torch.inf]]))
    assert not values.isnan().any()
    assert gradient.isfinite().all()


def test_weights_by_who_wrote_the_token_by_hand() -> None:
    config = ForwardKL(exploration_weight=0.5, guidance_weight=2.0)
    step = [random_rollout(0, num_student=2, num_teacher=1), random_rollout(1, num_student=1, num_teacher=0)]
    own = weighed(config, step)
    assert total_weight(own) == 3.5
    losses, weights = torch.tensor([1.0, 2.0, 4.0, 8.0]), make_batch(own).weights
    assert loss_share(losses, weights, 3.5).item() == pytest.approx((0.5 + 1 + 8 + 4) / 3.5)
    plain = weighed(ForwardKL(), step)
    assert total_weight(plain) == 4
    assert loss_share(losses, make_batch(plain).weights, 4.0).item() == pytest.approx(losses.mean())


def test_a_step_in_which_nothing_counts_has_no_loss_and_no_gradient() -> None:
    config = ReverseKL(exploration_weight=0.0)
    step = [random_rollout(0, num_student=3, num_teacher=0)]
    step = weighed(config, step)
    assert total_weight(step) == 0
    batch = make_batch(step)
    logits = student_logits(3).requires_grad_()
    loss = loss_share(config.token_losses(batch, logits), batch.weights, 0.0)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()
