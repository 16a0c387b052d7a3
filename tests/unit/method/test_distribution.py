"""TopK and its counterpart: closed forms, a slow float64 version, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adaswitch.errors import NonFiniteError
from adaswitch.method.distribution import TAIL_FLOOR, TopK, concatenate, outcome_logprobs_of, top_k


def from_probabilities(probabilities: list[list[float]], vocab_size: int) -> TopK:
    ids = torch.arange(len(probabilities[0])).repeat(len(probabilities), 1)
    return TopK(ids, torch.tensor(probabilities).log(), vocab_size)


def slow_outcomes(logits: list[float], ids: list[int], vocab_size: int) -> list[float]:
    """Probabilities of the k + 1 outcomes in plain Python floats."""
    exponentials = [math.exp(logit) for logit in logits[:vocab_size]]
    total = math.fsum(exponentials)
    rest = math.fsum(value for i, value in enumerate(exponentials) if i not in ids)
    return [exponentials[i] / total for i in ids] + [rest / total]


def test_the_tail_is_what_the_candidates_leave_over() -> None:
    outcomes = from_probabilities([[0.5, 0.3], [0.25, 0.25]], vocab_size=9).outcome_logprobs()
    torch.testing.assert_close(outcomes.exp(), torch.tensor([[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]]))


def test_the_tail_is_impossible_where_all_tokens_are_candidates() -> None:
    outcomes = from_probabilities([[0.6, 0.4]], vocab_size=2).outcome_logprobs()
    torch.testing.assert_close(outcomes, torch.tensor([[math.log(0.6), math.log(0.4), -math.inf]]))


@pytest.mark.parametrize("excess", [-1e-9, 0.0, 3e-7])
def test_a_tail_within_rounding_is_put_at_the_floor(excess: float) -> None:
    outcomes = from_probabilities([[0.5 + excess, 0.5]], vocab_size=3).outcome_logprobs()
    assert outcomes[0, 2].item() == pytest.approx(math.log(TAIL_FLOOR), abs=1e-5)
    assert outcomes.double().exp().sum().item() == pytest.approx(1.0, abs=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 9), st.floats(0, 30))
def test_outcomes_are_normalised(seed: int, k: int, sharpness: float) -> None:
    logits = torch.from_numpy(sharpness * np.random.default_rng(seed).normal(size=(3, 9)))
    distributions = top_k(logits.log_softmax(-1), k)
    outcomes = distributions.outcome_logprobs()
    assert outcomes.shape == (3, k + 1)
    torch.testing.assert_close(outcomes.double().exp().sum(-1), torch.ones(3).double(), rtol=0, atol=1e-6)
    # What was sent is changed by the normalisation's rounding alone.
    torch.testing.assert_close(outcomes[:, :k], distributions.logprobs, rtol=1e-6, atol=1e-6)


def test_top_k_takes_the_most_likely_by_falling_probability() -> None:
    distributions = top_k(torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]]).log(), 2)
    assert distributions.ids.tolist() == [[1, 2], [0, 2]]
    torch.testing.assert_close(distributions.logprobs.exp(), torch.tensor([[0.6, 0.3], [0.5, 0.3]]))
    assert (len(distributions), distributions.k, distributions.vocab_size) == (2, 2, 3)


def test_rows_and_concatenate_are_inverse() -> None:
    whole = top_k(torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).log_softmax(-1), 3)
    again = concatenate([whole.rows(0, 2), whole.rows(2, 2), whole.rows(2, 5)])
    assert torch.equal(again.ids, whole.ids)
    assert torch.equal(again.logprobs, whole.logprobs)


@pytest.mark.parametrize(("k", "vocab_size"), [(1, 9), (2, 8)])
def test_different_distributions_are_not_joined(k: int, vocab_size: int) -> None:
    parts = [from_probabilities([[0.5, 0.3]], 9), from_probabilities([[0.5, 0.3][:k]], vocab_size)]
    with pytest.raises(ValueError, match="cannot join"):
        concatenate(parts)


@pytest.mark.parametrize(
    ("ids", "logprobs", "complaint"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), "must both be"),
        (torch.zeros(3), torch.zeros(3), "must both be"),
        (torch.zeros(2, 0), torch.zeros(2, 0), "0 candidates of 5"),
        (torch.arange(6)[None], torch.zeros(1, 6), "6 candidates of 5"),
        (torch.tensor([[5]]), torch.zeros(1, 1), "not within the vocabulary"),
        (torch.tensor([[-1]]), torch.zeros(1, 1), "not within the vocabulary"),
    ],
)
def test_what_is_no_distribution_is_refused(ids: Tensor, logprobs: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        TopK(ids.long(), logprobs, 5)


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf])
def test_a_logprob_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(NonFiniteError):
        TopK(torch.tensor([[0, 1]]), torch.tensor([[-0.5, value]]), 5)


@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0, 12))
def test_the_other_side_equals_the_slow_version(seed: int, k: int, sharpness: float) -> None:
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(2, 6))
    ids = np.stack([rng.permutation(6)[:k] for _ in range(2)])
    fast = outcome_logprobs_of(torch.from_numpy(logits), torch.from_numpy(ids), 6)
    for row in range(2):
        slow = slow_outcomes(logits[row].tolist(), ids[row].tolist(), 6)
        expected = [math.log(value) if value > 0 else -math.inf for value in slow]
        assert fast[row].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_padding_rows_do_not_count_and_logprobs_will_do() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0]])
    ids = torch.tensor([[1, 3]])
    expected = outcome_logprobs_of(logits, ids, 4)
    padded = torch.cat([logits, torch.tensor([[1e9, torch.inf]])], dim=-1)
    torch.testing.assert_close(outcome_logprobs_of(padded, ids, 4), expected)
    torch.testing.assert_close(outcome_logprobs_of(logits.log_softmax(-1), ids, 4), expected)


def test_half_precision_is_worked_out_in_single() -> None:
    logits = torch.tensor([[3.0, -2.0, 1.0, 0.25]])
    ids = torch.tensor([[0]])
    torch.testing.assert_close(
        outcome_logprobs_of(logits.bfloat16(), ids, 4), outcome_logprobs_of(logits, ids, 4), rtol=0, atol=0
    )


def test_value_and_gradient_where_the_candidates_hold_nearly_everything() -> None:
    # One candidate, three others at e^0: the tail is 3 / (e^x + 3) = 1e-9 of the mass.
    head = math.log(3e9 - 3)
    logits = torch.tensor([[head, 0.0, 0.0, 0.0]], requires_grad=True)
    outcomes = outcome_logprobs_of(logits, torch.tensor([[0]]), 4)
    assert outcomes[0, 1].item() == pytest.approx(math.log(1e-9), abs=1e-5)
    outcomes[0, 1].backward()
    # d log(tail) / d logits: the share within the tail, less the probability.
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[-1.0, 1 / 3, 1 / 3, 1 / 3]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 20.0])
def test_the_gradient_equals_the_slow_version(sharpness: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = sharpness * torch.randn(4, 8, generator=generator)
    weights = torch.randn(4, 4, generator=generator)
    ids = logits.topk(3).indices
    fast = logits.clone().requires_grad_()
    (outcome_logprobs_of(fast, ids, 8) * weights).sum().backward()
    slow = logits.double().requires_grad_()
    probabilities = slow.softmax(-1)
    others = torch.ones(4, 8).scatter(-1, ids, 0.0).double()
    outcomes = torch.cat([probabilities.gather(-1, ids), (probabilities * others).sum(-1, keepdim=True)], -1)
    (outcomes.log() * weights.double()).sum().backward()
    assert fast.grad is not None
    assert slow.grad is not None
    torch.testing.assert_close(fast.grad.double(), slow.grad, rtol=1e-4, atol=1e-5)
