"""Divergences: closed forms of values and gradients, a slow float64 version, and their inequalities."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adaswitch.config import DivergenceName
from adaswitch.distribution import top_k
from adaswitch.divergence import DIVERGENCES, divergences, forward_kl, jsd, reverse_kl
from adaswitch.errors import NonFiniteError

METRICS = sorted(DIVERGENCES)
P, Q = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def slow_kl(p: list[float], q: list[float]) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def slow(metric: str, p: list[float], q: list[float], beta: float = 0.5) -> float:
    if metric == "forward_kl":
        return slow_kl(p, q)
    if metric == "reverse_kl":
        return slow_kl(q, p)
    mixture = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
    return beta * slow_kl(p, mixture) + (1 - beta) * slow_kl(q, mixture)


def random_logprobs(seed: int, rows: int, outcomes: int, sharpness: float) -> Tensor:
    numbers = sharpness * np.random.default_rng(seed).normal(size=(rows, outcomes))
    return torch.from_numpy(numbers).log_softmax(-1)


def gradient(metric: str, p: Tensor, q_logits: Tensor, **options: float) -> Tensor:
    q_logits = q_logits.clone().requires_grad_()
    DIVERGENCES[metric](p, q_logits.log_softmax(-1), **options).sum().backward()
    assert q_logits.grad is not None
    return q_logits.grad


def test_every_metric_of_the_settings_is_there() -> None:
    assert set(DIVERGENCES) == set(get_args(DivergenceName))


def test_two_outcomes_by_hand() -> None:
    p, q = logs([0.5, 0.5]), logs([0.25, 0.75])
    # .5 log 2 + .5 log(2/3); .25 log(1/2) + .75 log(3/2); mixture (.375, .625).
    assert forward_kl(p, q).item() == pytest.approx(0.5 * math.log(4 / 3))
    assert reverse_kl(p, q).item() == pytest.approx(0.75 * math.log(3) - math.log(2))
    by_hand = 0.25 * (math.log(4 / 3) + math.log(4 / 5) + 0.5 * math.log(2 / 3) + 1.5 * math.log(6 / 5))
    assert jsd(p, q).item() == pytest.approx(by_hand)


def test_three_outcomes_by_hand() -> None:
    p, q = logs(P), logs(Q)
    assert forward_kl(p, q).item() == pytest.approx(
        0.5 * math.log(2.5) + 0.3 * math.log(1.5) - 0.2 * math.log(3)
    )
    assert reverse_kl(p, q).item() == pytest.approx(
        -0.2 * math.log(2.5) - 0.2 * math.log(1.5) + 0.6 * math.log(3)
    )


def test_disjoint_sides_are_log_two_apart() -> None:
    p, q = logs([1.0, 0.0]), logs([0.0, 1.0])
    assert jsd(p, q).item() == pytest.approx(math.log(2))
    assert forward_kl(p, q).item() == math.inf
    assert reverse_kl(p, q).item() == math.inf


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 10**6), sharpness=st.floats(0.1, 6))
def test_values_equal_the_slow_version(metric: str, seed: int, sharpness: float) -> None:
    p, q = random_logprobs(seed, 3, 5, sharpness), random_logprobs(seed + 1, 3, 5, sharpness)
    expected = [slow(metric, a, b) for a, b in zip(p.exp().tolist(), q.exp().tolist(), strict=True)]
    assert DIVERGENCES[metric](p, q).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert DIVERGENCES[metric](p.float(), q.float()).tolist() == pytest.approx(expected, rel=1e-4, abs=2e-6)


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5, 0.9])
def test_generalised_jsd_equals_the_slow_version(beta: float) -> None:
    assert jsd(logs(P), logs(Q), beta).item() == pytest.approx(slow("jsd", P, Q, beta))


def test_gradients_equal_their_closed_forms() -> None:
    p, q = torch.tensor([P]).double(), torch.tensor([Q]).double()
    torch.testing.assert_close(gradient("forward_kl", p.log(), q.log()), q - p)
    ratio = (q / p).log()
    expected = q * (ratio - (q * ratio).sum())
    torch.testing.assert_close(gradient("reverse_kl", p.log(), q.log()), expected)
    for beta in (0.1, 0.5, 0.8):
        ratio = (1 - beta) * (q / (beta * p + (1 - beta) * q)).log()
        expected = q * (ratio - (q * ratio).sum())
        torch.testing.assert_close(gradient("jsd", p.log(), q.log(), beta=beta), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_equal_finite_differences(metric: str) -> None:
    p = random_logprobs(0, 2, 6, 2.0)
    logits = random_logprobs(1, 2, 6, 2.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: DIVERGENCES[metric](p, x.log_softmax(-1)), logits)


@pytest.mark.parametrize(
    ("beta", "weight", "limit"), [(1e-6, 1e-6, "forward_kl"), (1 - 1e-6, 1e-6, "reverse_kl")]
)
def test_the_limits_of_jsd(beta: float, weight: float, limit: str) -> None:
    p, q = logs(P, [0.1, 0.8, 0.1]), logs(Q, [0.3, 0.3, 0.4])
    torch.testing.assert_close(jsd(p, q, beta) / weight, DIVERGENCES[limit](p, q), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        gradient("jsd", p, q, beta=beta) / weight, gradient(limit, p, q), rtol=1e-4, atol=1e-6
    )


@given(st.integers(0, 10**6))
def test_jsd_is_symmetric_and_bounded(seed: int) -> None:
    p, q = random_logprobs(seed, 4, 6, 5.0), random_logprobs(seed + 1, 4, 6, 5.0)
    torch.testing.assert_close(jsd(p, q), jsd(q, p))
    torch.testing.assert_close(jsd(p, q, 0.3), jsd(q, p, 0.7))
    assert (jsd(p, q) <= math.log(2)).all()


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 10**6), outcomes=st.integers(2, 8), sharpness=st.floats(0.1, 5))
def test_positive_and_zero_only_where_equal(metric: str, seed: int, outcomes: int, sharpness: float) -> None:
    p = random_logprobs(seed, 3, outcomes, sharpness)
    q = random_logprobs(seed + 1, 3, outcomes, sharpness)
    distance = (p.exp() - q.exp()).abs().sum(-1)
    values = DIVERGENCES[metric](p, q)
    # Pinsker's inequality; for JSD applied to each half.
    bound = distance**2 / (8 if metric == "jsd" else 2)
    assert (values >= bound - 1e-12).all()
    assert DIVERGENCES[metric](p, p).abs().max().item() < 1e-12


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 12), sharpness=st.floats(0.1, 4))
def test_candidates_and_tail_are_never_further_apart_than_the_whole(
    metric: str, seed: int, k: int, sharpness: float
) -> None:
    p, q = random_logprobs(seed, 3, 12, sharpness), random_logprobs(seed + 1, 3, 12, sharpness)
    coarse = divergences(metric, top_k(p, k), q)
    whole = DIVERGENCES[metric](p, q).tolist()
    for few, all_of_them in zip(coarse, whole, strict=True):
        assert -1e-6 < few <= all_of_them + 1e-5
    if k == 12:
        assert coarse == pytest.approx(whole, rel=1e-4, abs=2e-6)


def test_shrinking_the_student_on_the_candidates_does_not_pay() -> None:
    # Without the tail this student, who hardly ever takes a candidate, would look as good as any.
    p = top_k(logs([0.6, 0.3, 0.05, 0.05]), 2)
    away, near = logs([1e-6, 1e-6, 0.5, 0.499998]), logs([0.5, 0.3, 0.1, 0.1])
    for metric in METRICS:
        assert divergences(metric, p, away)[0] > 10 * divergences(metric, p, near)[0]


def test_outcomes_without_probability() -> None:
    p, q = logs([0.5, 0.5, 0.0, 0.0]), logs([0.25, 0.5, 0.25, 0.0])
    assert forward_kl(p, q).item() == pytest.approx(0.5 * math.log(2))
    assert reverse_kl(q, p).item() == pytest.approx(0.5 * math.log(2))
    assert reverse_kl(p, q).item() == math.inf
    expected = slow("jsd", [0.5, 0.5, 0.0, 0.0], [0.25, 0.5, 0.25, 0.0])
    assert jsd(p, q).item() == pytest.approx(expected)
    assert jsd(q, p).item() == pytest.approx(expected)


def test_outcomes_without_probability_leave_the_gradient_finite() -> None:
    q = torch.tensor([[0.25, 0.5, 0.25]]).double()
    p = torch.tensor([[0.5, 0.5, 0.0]]).double()
    torch.testing.assert_close(gradient("forward_kl", p.log(), q.log()), q - p)
    assert gradient("jsd", p.log(), q.log()).isfinite().all()
    nobody = logs([0.5, 0.5, 0.0])
    for divergence in DIVERGENCES.values():
        student = logs([0.4, 0.6, 0.0]).requires_grad_()
        divergence(nobody, student).sum().backward()
        assert student.grad is not None
        assert student.grad.isfinite().all()
        assert student.grad[0, 2] == 0


def test_a_divergence_that_is_not_finite_is_an_error() -> None:
    teacher = top_k(logs([0.5, 0.3, 0.2]), 2)
    for student in (logs([0.0, 0.5, 0.5]), torch.full((1, 3), math.nan)):
        with pytest.raises(NonFiniteError, match="forward_kl divergence"):
            divergences("forward_kl", teacher, student)


def test_one_number_a_position() -> None:
    teacher = top_k(logs(P, P), 3)
    assert divergences("forward_kl", teacher, logs(P, Q)) == pytest.approx(
        [0.0, slow("forward_kl", P, Q)], abs=1e-6
    )
