"""Which prompt comes when, and the learning rate's closed forms."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.config.parsing import parse_config
from adaswitch.method.coins import prompt_coin
from adaswitch.method.learning_rate import OptimizerConfig, learning_rate
from adaswitch.method.prompt import Prompt
from adaswitch.method.schedule import PromptSchedule, TeacherBudgetConfig, TeacherShares
from trainer.job import schedule_of


def schedule(num_prompts: int, per_step: int, *, max_staleness: int = 0, seed: int = 0) -> PromptSchedule:
    return PromptSchedule([(i, i + 1) for i in range(num_prompts)], per_step, max_staleness, seed)


def draws(prompts: PromptSchedule, num_steps: int) -> list[Prompt]:
    return [prompt for step in range(num_steps) for prompt in prompts.step(step)]


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 5))
def test_every_epoch_is_a_permutation(num_prompts: int, per_step: int, seed: int) -> None:
    all_draws = draws(schedule(num_prompts, per_step, seed=seed), num_steps=3 * num_prompts)
    assert [prompt.id for prompt in all_draws] == list(range(3 * num_prompts * per_step))
    for start in range(0, len(all_draws), num_prompts):
        records = [prompt.record for prompt in all_draws[start : start + num_prompts]]
        assert sorted(records) == list(range(1, num_prompts + 1))


def test_a_record_keeps_its_tokens_and_its_step() -> None:
    prompts = schedule(7, 3)
    for step in (0, 4, 11):
        for prompt in prompts.step(step):
            assert prompt.token_ids == (prompt.record - 1, prompt.record)
            assert prompt.step == step == prompt.id // 3


@given(st.integers(0, 100), st.lists(st.integers(0, 100), max_size=5))
def test_a_step_does_not_depend_on_what_was_asked_before(step: int, before: list[int]) -> None:
    used = schedule(5, 4)
    for earlier in before:
        used.step(earlier)
    assert used.step(step) == schedule(5, 4).step(step)


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    orders = {
        tuple(prompt.record for prompt in schedule(12, 12, seed=seed).step(epoch))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@pytest.mark.parametrize(("max_staleness", "expected"), [(0, [0, 1, 2, 3, 4]), (2, [0, 0, 0, 1, 2])])
def test_min_version_bounds_the_staleness(max_staleness: int, expected: list[int]) -> None:
    prompts = schedule(6, 2, max_staleness=max_staleness)
    assert [prompts.step(step)[0].min_version for step in range(5)] == expected
    assert all(prompt.min_version == prompt.step - 2 for prompt in schedule(6, 2, max_staleness=2).step(9))


def test_a_prompt_comes_with_its_coin_and_its_own_reference() -> None:
    references = [(100 + i,) for i in range(7)]
    prompts = PromptSchedule([(i,) for i in range(7)], 3, 0, seed=5, references=references)
    for prompt in draws(prompts, 6):
        assert prompt.reference_token_ids == (100 + prompt.token_ids[0],)
        assert prompt.coin == prompt_coin(5, prompt.id)
        assert prompt.max_teacher_tokens is None
    assert schedule(7, 3).step(0)[0].reference_token_ids == ()
    with pytest.raises(ValueError, match="7 prompts with 3 references"):
        PromptSchedule([(i,) for i in range(7)], 3, 0, seed=5, references=references[:3])


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 50), st.integers(0, 400))
def test_shares_add_up_to_the_budget_and_are_never_nothing(
    per_step: int, num_steps: int, more: int, more_in_all: int
) -> None:
    budget = TeacherBudgetConfig(
        tokens_per_step=per_step + more, tokens_per_run=per_step * num_steps + more_in_all
    )
    for limits in (budget, budget.model_copy(update={"tokens_per_run": None})):
        shares = TeacherShares(limits, per_step, num_steps)
        steps = [[shares.of(step * per_step + j) for j in range(per_step)] for step in range(num_steps)]
        assert min(map(min, steps)) >= 1
        assert all(max(step) - min(step) <= 1 for step in steps)
        assert all(sum(step) <= budget.tokens_per_step for step in steps)
        if limits.tokens_per_run is None:
            assert {sum(step) for step in steps} == {budget.tokens_per_step}
        else:
            assert sum(map(sum, steps)) <= budget.tokens_per_run
    alone = TeacherShares(budget.model_copy(update={"tokens_per_step": None}), per_step, num_steps)
    assert sum(alone.of(i) for i in range(per_step * num_steps)) == budget.tokens_per_run


def test_the_example_of_the_docstring() -> None:
    shares = TeacherShares(TeacherBudgetConfig(tokens_per_step=10), 4, 5)
    assert [shares.of(i) for i in range(8)] == [2, 3, 2, 3] * 2
    assert TeacherShares(TeacherBudgetConfig(), 4, 5).of(3) is None


def test_a_runs_schedule() -> None:
    config = parse_config(
        {
            "name": "run",
            "seed": 4,
            "task": {"kind": "chain"},
            "teacher": {},
            "student": {"model": "m"},
            "teacher_budget": {"tokens_per_step": 9},
            "trainer": {"prompts_per_step": 2, "max_staleness": 1, "num_steps": 6},
        }
    )
    prompts = schedule_of(config, [(i,) for i in range(5)], [(9, i) for i in range(5)])
    expected = PromptSchedule([(i,) for i in range(5)], 2, 1, 4).step(3)
    for prompt, same in zip(prompts.step(3), expected, strict=True):
        assert (prompt.id, prompt.token_ids, prompt.min_version) == (
            same.id,
            same.token_ids,
            same.min_version,
        )
        assert prompt.reference_token_ids == (9, prompt.token_ids[0])
    assert [prompt.max_teacher_tokens for prompt in prompts.step(3)] == [4, 5]


def optimizer(**settings: object) -> OptimizerConfig:
    return OptimizerConfig(**{"learning_rate": 0.1, "warmup_steps": 4, **settings})


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_the_warm_up_is_a_line_that_starts_above_zero_and_ends_at_the_peak(kind: str) -> None:
    config = optimizer(schedule=kind, final_fraction=0.2)
    rates = [learning_rate(config, step, 20) for step in range(5)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


def test_closed_forms_half_way_and_at_the_end() -> None:
    for kind, half, last in [
        ("constant", 1.0, 1.0),
        ("linear", 0.6, 0.2 + 0.8 / 16),
        ("cosine", 0.6, 0.2 + 0.4 * (1 + math.cos(math.pi * 15 / 16))),
    ]:
        config = optimizer(schedule=kind, final_fraction=0.2)
        assert learning_rate(config, 12, 20) == pytest.approx(0.1 * half)
        # After the last update, at step 20, it would be final_fraction of the peak.
        assert learning_rate(config, 19, 20) == pytest.approx(0.1 * last)
        assert learning_rate(config, 20, 20) == pytest.approx(0.1 if kind == "constant" else 0.02)


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.integers(0, 12),
    st.integers(1, 30),
    st.floats(0, 1),
)
def test_it_rises_then_falls_and_stays_within_its_bounds(
    kind: str, warmup_steps: int, num_steps: int, final_fraction: float
) -> None:
    config = optimizer(schedule=kind, warmup_steps=warmup_steps, final_fraction=final_fraction)
    rates = [learning_rate(config, step, num_steps) for step in range(num_steps)]
    assert all(0 < rate <= 0.1 + 1e-12 for rate in rates)
    assert all(a < b + 1e-12 for a, b in pairwise(rates[:warmup_steps]))
    assert all(a >= b - 1e-12 for a, b in pairwise(rates[warmup_steps:]))
    assert all(rate >= 0.1 * final_fraction - 1e-12 for rate in rates[warmup_steps:])


def test_without_a_warm_up_it_starts_at_the_peak() -> None:
    assert learning_rate(optimizer(warmup_steps=0), 0, 10) == pytest.approx(0.1)


def test_a_run_shorter_than_its_warm_up_ends_below_the_peak() -> None:
    assert learning_rate(optimizer(warmup_steps=10), 2, 3) == pytest.approx(0.03)
