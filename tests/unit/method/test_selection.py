"""Which tokens count: by hand, against a slow sort, and what the weights of policy, stage and selection come to."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adaswitch.method.distribution import TopK
from adaswitch.method.losses.forward_kl import ForwardKL
from adaswitch.method.rollout import Rollout
from adaswitch.method.selection import TokenSelection, selected
from adaswitch.method.step_loss import total_weight, weighed
from tests.fakes import random_rollout


def everything(rollouts: list[Rollout]) -> list[np.ndarray]:
    return [np.ones(rollout.num_tokens, dtype=np.bool_) for rollout in rollouts]


def seen(rollout: Rollout, *divergences: float) -> Rollout:
    return replace(rollout, divergences=divergences, thresholds=(math.inf,) * len(divergences))


def test_a_share_of_a_step_by_divergence_by_hand() -> None:
    # The third divergence is the one that led to the switch: its token is the teacher's.
    one = seen(random_rollout(0, num_student=2, num_teacher=2), 0.1, 0.5, 9.0)
    other = seen(random_rollout(1, num_student=3, num_teacher=0), 0.3, 0.2, 0.4)
    found = selected(TokenSelection(by="divergence", share=0.4), [one, other], everything([one, other]))
    assert [own.tolist() for own in found] == [[False, True, True, True], [False, False, True]]


def test_only_up_to_a_place_and_a_share_of_what_is_left() -> None:
    rollouts = [seen(random_rollout(0, num_student=4, num_teacher=0), 1.0, 2.0, 3.0, 4.0)]
    first = selected(TokenSelection(up_to=3), rollouts, everything(rollouts))
    assert first[0].tolist() == [True, True, True, False]
    both = selected(TokenSelection(up_to=3, by="divergence", share=0.5), rollouts, everything(rollouts))
    assert both[0].tolist() == [False, True, True, False]


def test_the_entropy_of_known_distributions() -> None:
    logprobs = torch.tensor([[0.5, 0.5], [0.25, 0.25], [1.0, 0.0]]).log().clamp_min(-60)
    teacher = TopK(torch.tensor([[0, 1]] * 3), logprobs, 10)
    rollout = replace(random_rollout(0, num_student=3, num_teacher=0), teacher=teacher)
    expected = [math.log(2), 0.5 * math.log(4) + 0.5 * math.log(2), 0.0]
    assert rollout.teacher.entropies().tolist() == pytest.approx(expected, abs=1e-5)


STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any), min_size=1, max_size=5)


@given(
    STEPS,
    st.floats(0.01, 0.99),
    st.none() | st.integers(1, 6),
    st.sampled_from(["divergence", "teacher_entropy"]),
)
def test_it_is_what_a_slow_sort_finds(
    lengths: list[tuple[int, int]], share: float, up_to: int | None, by: str
) -> None:
    rollouts = [
        seen(random_rollout(i, num_student=s, num_teacher=t), *(float((7 * i + 3 * j) % 5) for j in range(s)))
        for i, (s, t) in enumerate(lengths)
    ]
    selection = TokenSelection.model_validate({"by": by, "share": share, "up_to": up_to})
    found = selected(selection, rollouts, everything(rollouts))
    ranked = []
    for i, rollout in enumerate(rollouts):
        for j in range(rollout.num_tokens):
            if up_to is not None and j >= up_to:
                assert not found[i][j]
            elif by == "teacher_entropy":
                ranked.append((-float(rollout.teacher.entropies()[j]), i, j))
            elif rollout.by_teacher[j]:
                assert found[i][j]
            else:
                ranked.append((-rollout.divergences[j], i, j))
    num_kept = math.ceil(share * len(ranked))
    for place, (_, i, j) in enumerate(sorted(ranked)):
        assert found[i][j] == (place < num_kept)


@given(STEPS, st.floats(0.001, 10), st.floats(0.001, 10))
def test_weights_multiply_and_no_weights_are_ones(
    lengths: list[tuple[int, int]], exploration: float, guidance: float
) -> None:
    loss = ForwardKL(exploration_weight=exploration, guidance_weight=guidance)
    rollouts = [random_rollout(i, num_student=s, num_teacher=t) for i, (s, t) in enumerate(lengths)]
    ones = [replace(rollout, token_weights=np.ones(rollout.num_tokens)) for rollout in rollouts]
    assert total_weight(weighed(loss, rollouts)) == total_weight(weighed(loss, ones))
    num_teacher = sum(t for _, t in lengths)
    num_student = sum(s for s, _ in lengths)
    expected = exploration * num_student + guidance * num_teacher
    assert total_weight(weighed(loss, rollouts)) == pytest.approx(expected, rel=1e-12)
    doubled = [replace(one, token_weights=np.full(one.num_tokens, 2.0)) for one in rollouts]
    assert total_weight(weighed(loss, doubled)) == pytest.approx(2 * expected, rel=1e-12)


def test_what_the_policy_leaves_out_is_not_ranked() -> None:
    rollout = seen(random_rollout(0, num_student=4, num_teacher=0), 4.0, 3.0, 2.0, 1.0)
    rollout = replace(rollout, token_weights=np.array([0.0, 1.0, 3.0, 1.0]))
    loss = ForwardKL(select=TokenSelection(by="divergence", share=0.5))
    (own,) = weighed(loss, [rollout])
    assert own.token_weights is not None
    assert own.token_weights.tolist() == [0.0, 1.0, 3.0, 0.0]


@pytest.mark.parametrize(
    "weights", [[1.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf], [1.0, 1e39], [1.0, 1e-46], [[1.0, 1.0]]]
)
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"the tokens' weights (have the shape|must be 0, or)"):
        replace(random_rollout(0, num_student=2, num_teacher=0), token_weights=np.array(weights))


@pytest.mark.parametrize(
    "settings", [{"share": 0.5}, {"by": "divergence"}, {"share": 0.0, "by": "divergence"}, {"up_to": 0}]
)
def test_a_selection_that_says_nothing_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TokenSelection.model_validate(settings)
