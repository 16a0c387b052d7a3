"""Two ranks, on gloo, against one process: the same losses, gradients, weights and optimizer's state."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.method.packing import level_shares, num_all_tokens
from tests.fakes import random_rollout
from tests.ranks import ALL_CASES, BFLOAT16, CASES, Found, by_one, by_two_ranks, gone_on
from trainer.world import ALONE


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> dict[str, Found]:
    return by_two_ranks(tmp_path_factory.mktemp("ranks"))


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], atol: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=0, atol=atol, msg=lambda said, name=name: f"{name}: {said}"
        )


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_one_process(ranks, name: str) -> None:
    assert_same(ranks[name].gradients, by_one(name).gradients, 1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_update_says_what_that_of_one_process_says(ranks, name: str) -> None:
    found, expected = (dataclasses.asdict(each.update) for each in (ranks[name], by_one(name)))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_weights_are_whole_and_those_of_one_process(ranks, name: str) -> None:
    # AdamW's first step divides each gradient by its own size, which makes much of a rounding of tiny ones.
    assert_same(ranks[name].weights, by_one(name).weights, 1e-3)
    assert_same(ranks[name].state, by_one(name).state, 1e-3)


@pytest.mark.parametrize("name", CASES)
def test_the_optimizers_state_is_whole_and_in_the_form_of_one_process(ranks, name: str) -> None:
    found, expected = ranks[name].optimizer, by_one(name).optimizer
    assert found["param_groups"] == expected["param_groups"]
    assert found["state"].keys() == expected["state"].keys()
    for number, moments in expected["state"].items():
        assert_same(found["state"][number], moments, 1e-6)


@pytest.mark.parametrize("name", CASES)
def test_either_goes_on_from_what_the_other_has_saved(ranks, name: str) -> None:
    case = CASES[name]
    expected = gone_on(case, by_one(name), ALONE)
    assert_same(ranks[name].again, expected, 1e-5)
    assert_same(gone_on(case, ranks[name], ALONE), expected, 1e-3)


def test_bfloat16_is_off_by_its_rounding_and_leaves_all_weights_in_float32(ranks) -> None:
    found, expected = ranks[BFLOAT16], by_one(BFLOAT16)
    for name, slope in expected.gradients.items():
        assert found.gradients[name].dtype == torch.float32
        assert float((found.gradients[name] - slope).norm()) <= 0.1 * float(slope.norm()) + 1e-6, name
    assert all(weight.dtype == torch.float32 for weight in found.weights.values())
    assert len(ALL_CASES) == len(CASES) + 1


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 30)), min_size=1, max_size=12), st.integers(1, 5))
def test_shares_hold_every_rollout_once_and_are_as_level_as_the_longest_allows(
    lengths: list[tuple[int, int]], num_shares: int
) -> None:
    step = [
        random_rollout(i, num_prompt=prompt, num_student=tokens, num_teacher=0)
        for i, (prompt, tokens) in enumerate(lengths)
    ]
    shares = level_shares(step, num_shares)
    assert len(shares) == num_shares
    assert sorted(each.prompt.id for share in shares for each in share) == list(range(len(step)))
    loads = [sum(map(num_all_tokens, share)) for share in shares]
    assert max(loads) - min(loads) <= max(map(num_all_tokens, step))
    assert [[each.prompt.id for each in share] for share in level_shares(step, num_shares)] == [
        [each.prompt.id for each in share] for share in shares
    ]
