"""Divergences: closed forms of values and gradients, a slow float64 version, and their inequalities."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adaswitch.errors import NonFiniteError
from adaswitch.method.distribution import outcome_logprobs_of, top_k
from adaswitch.method.divergence import DIVERGENCES, Divergence, divergences, forward_kl, jsd, reverse_kl
from adaswitch.method.losses.skewed_kl import skewed_kl
from adaswitch.method.losses.skewed_reverse_kl import skewed_reverse_kl
from adaswitch.method.losses.total_variation import total_variation
from adaswitch.method.policies.base import DivergenceName

METRICS: dict[str, Divergence] = {
    **DIVERGENCES,
    "skewed_kl": skewed_kl,
    "skewed_reverse_kl": skewed_reverse_kl,
    "total_variation": total_variation,
}
each_metric = pytest.mark.parametrize("metric", sorted(METRICS))
P, Q = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def slow_kl(p: list[float], q: list[float]) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def mix(p: list[float], q: list[float], share: float) -> list[float]:
    return [share * a + (1 - share) * b for a, b in zip(p, q, strict=True)]


def slow(metric: str, p: list[float], q: list[float], share: float | None = None) -> float:
    match metric:
        case "forward_kl":
            return slow_kl(p, q)
        case "reverse_kl":
            return slow_kl(q, p)
        case "jsd":
            beta = 0.5 if share is None else share
            return beta * slow_kl(p, mix(p, q, beta)) + (1 - beta) * slow_kl(q, mix(p, q, beta))
        case "skewed_kl":
            return slow_kl(p, mix(p, q, 0.1 if share is None else share))
        case "skewed_reverse_kl":
            return slow_kl(q, mix(q, p, 0.1 if share is None else share))
    return math.fsum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2


def random_logprobs(seed: int, rows: int, outcomes: int, sharpness: float) -> Tensor:
    numbers = sharpness * np.random.default_rng(seed).normal(size=(rows, outcomes))
    return torch.from_numpy(numbers).log_softmax(-1)


def gradient(metric: str, p: Tensor, q_logits: Tensor, **options: float) -> Tensor:
    q_logits = q_logits.clone().requires_grad_()
    METRICS[metric](p, q_logits.log_softmax(-1), **options).sum().backward()
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


def test_disjoint_sides_are_as_far_apart_as_can_be() -> None:
    p, q = logs([1.0, 0.0]), logs([0.0, 1.0])
    assert jsd(p, q).item() == pytest.approx(math.log(2))
    assert forward_kl(p, q).item() == math.inf
    assert reverse_kl(p, q).item() == math.inf
    assert total_variation(p, q).item() == 1
    for alpha in (0.1, 0.4):
        assert skewed_kl(p, q, alpha).item() == pytest.approx(-math.log(alpha))
        assert skewed_reverse_kl(p, q, alpha).item() == pytest.approx(-math.log(alpha))


@each_metric
@given(seed=st.integers(0, 10**6), sharpness=st.floats(0.1, 6))
def test_values_equal_the_slow_version(metric: str, seed: int, sharpness: float) -> None:
    p, q = random_logprobs(seed, 3, 5, sharpness), random_logprobs(seed + 1, 3, 5, sharpness)
    expected = [slow(metric, a, b) for a, b in zip(p.exp().tolist(), q.exp().tolist(), strict=True)]
    assert METRICS[metric](p, q).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert METRICS[metric](p.float(), q.float()).tolist() == pytest.approx(expected, rel=1e-4, abs=2e-6)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_every_mixture_equals_the_slow_version(share: float) -> None:
    for name, divergence in {
        "jsd": jsd,
        "skewed_kl": skewed_kl,
        "skewed_reverse_kl": skewed_reverse_kl,
    }.items():
        assert divergence(logs(P), logs(Q), share).item() == pytest.approx(slow(name, P, Q, share)), name


def test_skewed_divergences_and_total_variation_by_hand() -> None:
    p, q = logs([0.5, 0.5]), logs([0.25, 0.75])
    # Mixtures with alpha = .2: the student's .8 q + .2 p = (.3, .7), the teacher's .8 p + .2 q = (.45, .55).
    forward = 0.5 * math.log(5 / 3) + 0.5 * math.log(5 / 7)
    reverse = 0.25 * math.log(5 / 9) + 0.75 * math.log(15 / 11)
    assert skewed_kl(p, q, 0.2).item() == pytest.approx(forward)
    assert skewed_reverse_kl(p, q, 0.2).item() == pytest.approx(reverse)
    assert total_variation(p, q).item() == pytest.approx(0.25)
    assert total_variation(logs(P), logs(Q)).item() == pytest.approx(0.4)


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


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.8])
def test_gradients_of_the_skewed_ones_equal_their_closed_forms(alpha: float) -> None:
    p, q = torch.tensor([P]).double(), torch.tensor([Q]).double()

    def through_softmax(slope: Tensor) -> Tensor:
        """From the derivative by q to that by the logits."""
        return q * (slope - (q * slope).sum())

    mixture = alpha * p + (1 - alpha) * q
    expected = through_softmax(-(1 - alpha) * p / mixture)
    torch.testing.assert_close(gradient("skewed_kl", p.log(), q.log(), alpha=alpha), expected)
    mixture = (1 - alpha) * p + alpha * q
    expected = through_softmax((q / mixture).log() - alpha * q / mixture)
    torch.testing.assert_close(gradient("skewed_reverse_kl", p.log(), q.log(), alpha=alpha), expected)
    # P and Q differ by (-, -, +).
    expected = through_softmax(torch.tensor([[-0.5, -0.5, 0.5]]).double())
    torch.testing.assert_close(gradient("total_variation", p.log(), q.log()), expected)


@each_metric
def test_gradients_equal_finite_differences(metric: str) -> None:
    p = random_logprobs(0, 2, 6, 2.0)
    logits = random_logprobs(1, 2, 6, 2.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: METRICS[metric](p, x.log_softmax(-1)), logits)


@pytest.mark.parametrize(
    ("beta", "weight", "limit"), [(1e-6, 1e-6, "forward_kl"), (1 - 1e-6, 1e-6, "reverse_kl")]
)
def test_the_limits_of_jsd(beta: float, weight: float, limit: str) -> None:
    p, q = logs(P, [0.1, 0.8, 0.1]), logs(Q, [0.3, 0.3, 0.4])
    torch.testing.assert_close(jsd(p, q, beta) / weight, METRICS[limit](p, q), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        gradient("jsd", p, q, beta=beta) / weight, gradient(limit, p, q), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("skewed", "limit"), [("skewed_kl", "forward_kl"), ("skewed_reverse_kl", "reverse_kl")]
)
def test_the_limits_of_the_skewed_ones(skewed: str, limit: str) -> None:
    p, q = logs(P, [0.1, 0.8, 0.1]), logs(Q, [0.3, 0.3, 0.4])
    near = METRICS[skewed](p, q, 1e-7)  # type: ignore[call-arg]
    torch.testing.assert_close(near, METRICS[limit](p, q), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        gradient(skewed, p, q, alpha=1e-7), gradient(limit, p, q), rtol=1e-5, atol=1e-6
    )


@given(st.integers(0, 10**6), st.floats(0.01, 0.99))
def test_the_skewed_ones_are_bounded_and_each_others_mirror(seed: int, alpha: float) -> None:
    p, q = random_logprobs(seed, 4, 6, 5.0), random_logprobs(seed + 1, 4, 6, 5.0)
    torch.testing.assert_close(skewed_kl(p, q, alpha), skewed_reverse_kl(q, p, alpha))
    assert (skewed_kl(p, q, alpha) <= -math.log(alpha) + 1e-12).all()
    # KL is convex, and the mixture is a step from q towards p.
    assert (skewed_kl(p, q, alpha) <= (1 - alpha) * forward_kl(p, q) + 1e-12).all()


@given(st.integers(0, 10**6))
def test_total_variation_is_symmetric_within_one_and_pinskers(seed: int) -> None:
    p, q = random_logprobs(seed, 4, 6, 5.0), random_logprobs(seed + 1, 4, 6, 5.0)
    values = total_variation(p, q)
    torch.testing.assert_close(values, total_variation(q, p))
    assert ((values >= 0) & (values <= 1)).all()
    assert (values**2 <= forward_kl(p, q) / 2 + 1e-12).all()
    assert (values**2 <= reverse_kl(p, q) / 2 + 1e-12).all()


@given(st.integers(0, 10**6))
def test_jsd_is_symmetric_and_bounded(seed: int) -> None:
    p, q = random_logprobs(seed, 4, 6, 5.0), random_logprobs(seed + 1, 4, 6, 5.0)
    torch.testing.assert_close(jsd(p, q), jsd(q, p))
    torch.testing.assert_close(jsd(p, q, 0.3), jsd(q, p, 0.7))
    assert (jsd(p, q) <= math.log(2)).all()


@each_metric
@given(seed=st.integers(0, 10**6), outcomes=st.integers(2, 8), sharpness=st.floats(0.1, 5))
def test_positive_and_zero_only_where_equal(metric: str, seed: int, outcomes: int, sharpness: float) -> None:
    p = random_logprobs(seed, 3, outcomes, sharpness)
    q = random_logprobs(seed + 1, 3, outcomes, sharpness)
    distance = (p.exp() - q.exp()).abs().sum(-1)
    values = METRICS[metric](p, q)
    # Pinsker's inequality; for JSD applied to each half, for the skewed ones to what the mixture is away.
    square = distance**2 / 2
    skewed = 0.9**2 * square
    bounds = {
        "jsd": square / 4,
        "skewed_kl": skewed,
        "skewed_reverse_kl": skewed,
        "total_variation": distance / 2,
    }
    bound = bounds.get(metric, square)
    assert (values >= bound - 1e-12).all()
    assert METRICS[metric](p, p).abs().max().item() < 1e-12


@each_metric
@given(seed=st.integers(0, 10**6), k=st.integers(1, 12), sharpness=st.floats(0.1, 4))
def test_candidates_and_tail_are_never_further_apart_than_the_whole(
    metric: str, seed: int, k: int, sharpness: float
) -> None:
    p, q = random_logprobs(seed, 3, 12, sharpness), random_logprobs(seed + 1, 3, 12, sharpness)
    teacher = top_k(p, k)
    p_outcomes, q_outcomes = teacher.outcome_logprobs(), outcome_logprobs_of(q, teacher.ids, 12)
    coarse, whole = METRICS[metric](p_outcomes, q_outcomes), METRICS[metric](p, q)
    if k == 12:
        torch.testing.assert_close(coarse, whole, rtol=1e-4, atol=2e-6)
        return
    # The teacher's tail is 1 - sum of float32 numbers: off by some 1e-7, which counts q / p times.
    rounding = 3e-7 * (q_outcomes[:, k] - p_outcomes[:, k]).exp()
    assert (coarse > -1e-6).all()
    assert (coarse <= whole + 1e-5 + rounding).all()


def test_shrinking_the_student_on_the_candidates_does_not_pay() -> None:
    # Without the tail this student, who hardly ever takes a candidate, would look as good as any.
    p = top_k(logs([0.6, 0.3, 0.05, 0.05]), 2)
    students = logs([1e-6, 1e-6, 0.5, 0.499998]), logs([0.5, 0.3, 0.1, 0.1])
    away, near = (outcome_logprobs_of(student, p.ids, 4) for student in students)
    for metric in DIVERGENCES:
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
    for metric in ("jsd", "skewed_kl", "skewed_reverse_kl", "total_variation"):
        assert gradient(metric, p.log(), q.log()).isfinite().all(), metric
    nobody = logs([0.5, 0.5, 0.0])
    for divergence in METRICS.values():
        student = logs([0.4, 0.6, 0.0]).requires_grad_()
        divergence(nobody, student).sum().backward()
        assert student.grad is not None
        assert student.grad.isfinite().all()
        assert student.grad[0, 2] == 0


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ([0.0, 0.5, 0.5], "a forward_kl divergence is inf: one model takes a token for impossible"),
        ([math.nan] * 3, r"the student's log-probabilities are not numbers \(NaN\): lower .*learning_rate"),
    ],
)
def test_a_divergence_that_is_not_finite_is_an_error(student: list[float], words: str) -> None:
    teacher = top_k(logs([0.5, 0.3, 0.2]), 2)
    with pytest.raises(NonFiniteError, match=words):
        divergences("forward_kl", teacher, outcome_logprobs_of(logs(student), teacher.ids, 3))


def test_outcomes_of_another_shape_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"outcomes \(2, 3\) of the teacher and \(1, 3\) of the student differ"
    ):
        divergences("forward_kl", top_k(logs([0.6, 0.3, 0.1], [0.5, 0.3, 0.2]), 2), logs([0.6, 0.3, 0.1]))


def test_one_number_a_position() -> None:
    teacher = top_k(logs(P, P), 3)
    student = outcome_logprobs_of(logs(P, Q), teacher.ids, len(P))
    assert divergences("forward_kl", teacher, student) == pytest.approx(
        [0.0, slow("forward_kl", P, Q)], abs=1e-6
    )
