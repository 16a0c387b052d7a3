"""Drawing tokens: the inverse of the cumulative distribution, frequencies, nucleus, and the uniform numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.method.coins import prompt_coin, switch_place
from adaswitch.method.sampling import draw, position_uniforms, teacher_seed

P = [0.1, 0.4, 0.0, 0.3, 0.2]


def draw_each(probabilities: list[float], uniforms: list[float], **options: float) -> list[int]:
    logprobs = torch.tensor(probabilities, dtype=torch.float64).log().repeat(len(uniforms), 1)
    return draw(logprobs, torch.tensor(uniforms, dtype=torch.float64), **options).tolist()


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    seen = expected > 0
    assert (counts[~seen] == 0).all()
    return float((((counts - expected) ** 2)[seen] / expected[seen]).sum())


def test_a_uniform_number_is_looked_up_in_the_cumulative_distribution() -> None:
    assert draw_each(P, [0.0, 0.09, 0.11, 0.49, 0.51, 0.79, 0.81, 0.999999]) == [0, 0, 1, 1, 3, 3, 4, 4]


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True), st.floats(0.2, 3))
def test_the_draw_equals_the_slow_version(seed: int, uniform: float, temperature: float) -> None:
    logits = 3 * np.random.default_rng(seed).normal(size=7)
    weights = [math.exp(logit / temperature) for logit in logits]
    total = math.fsum(weights)
    ends = [math.fsum(weights[: i + 1]) / total for i in range(7)]
    token = int(draw(torch.from_numpy(logits)[None], torch.tensor([uniform]).double(), temperature))
    assert (0.0 if token == 0 else ends[token - 1]) - 1e-12 <= uniform <= ends[token] + 1e-12


@pytest.mark.parametrize("largest", [math.nextafter(1.0, 0.0), 1 - 1e-12])
@pytest.mark.parametrize("last", [0.0, 1e-300])
def test_a_token_without_probability_is_never_drawn_at_the_ends(largest: float, last: float) -> None:
    for seed in range(50):
        weights = np.random.default_rng(seed).random(37)
        probabilities = [0.0, *(weights / weights.sum()).tolist(), last, 0.0, 0.0]
        assert draw_each(probabilities, [0.0, largest]) == [1, 37]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, P),
        ({"temperature": 0.5}, [0.01, 0.16, 0.0, 0.09, 0.04]),
        ({"temperature": 2.0}, [math.sqrt(p) for p in P]),
        ({"top_p": 0.6}, [0.0, 0.4, 0.0, 0.3, 0.0]),
    ],
)
def test_frequencies(options: dict[str, float], expected: list[float]) -> None:
    num_draws = 20_000
    uniforms = position_uniforms(0, 0, num_draws)
    counts = np.bincount(draw_each(P, uniforms.tolist(), **options), minlength=5)
    shares = np.array(expected) / sum(expected)
    # 3 degrees of freedom: beyond 16.3 once in a thousand seeds; this one is fixed.
    assert chi_square(counts, num_draws * shares) < 16.3


def test_temperature_0_takes_the_most_likely() -> None:
    assert draw_each(P, [0.0, 0.5, 0.99], temperature=0) == [1, 1, 1]


def test_a_temperature_near_0_is_nearly_greedy() -> None:
    assert draw_each(P, [1e-9, 0.5, 0.99], temperature=0.01) == [1, 1, 1]


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(1e-9, {1}), (0.39, {1}), (0.41, {1, 3}), (0.69, {1, 3}), (0.71, {1, 3, 4}), (0.95, {0, 1, 3, 4})],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(top_p: float, kept: set[int]) -> None:
    uniforms = ((np.arange(400) + 0.5) / 400).tolist()
    assert set(draw_each(P, uniforms, top_p=top_p)) == kept


def test_a_set_that_reaches_top_p_exactly_is_large_enough() -> None:
    uniforms = ((np.arange(400) + 0.5) / 400).tolist()
    assert len(set(draw_each([0.25] * 4, uniforms, top_p=0.5))) == 2


def test_the_nucleus_is_taken_after_the_temperature() -> None:
    # At temperature 0.5 the first two hold .25 / .30 of it all.
    uniforms = ((np.arange(400) + 0.5) / 400).tolist()
    assert set(draw_each(P, uniforms, top_p=0.8, temperature=0.5)) == {1, 3}
    assert set(draw_each(P, uniforms, top_p=0.8, temperature=1.0)) == {1, 3, 4}


def test_rows_are_drawn_by_themselves() -> None:
    logprobs = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 9)))
    uniforms = torch.from_numpy(position_uniforms(1, 2, 6))
    together = draw(logprobs, uniforms, top_p=0.9)
    alone = [int(draw(logprobs[i : i + 1], uniforms[i : i + 1], top_p=0.9)) for i in range(6)]
    assert together.tolist() == alone


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**40), st.integers(0, 50), st.integers(0, 50))
def test_a_longer_call_begins_with_the_same_numbers(seed: int, prompt_id: int, short: int, more: int) -> None:
    numbers = position_uniforms(seed, prompt_id, short + more)
    assert (numbers[:short] == position_uniforms(seed, prompt_id, short)).all()
    assert ((numbers >= 0) & (numbers < 1)).all()


def test_the_uniform_numbers_are_these() -> None:
    # Others would make every earlier run irreproducible.
    assert position_uniforms(0, 0, 2).tolist() == [0.011546754286331562, 0.24154919656271812]
    assert position_uniforms(7, 11, 2).tolist() == [0.31363218025791606, 0.1588653822005296]


def test_seed_and_prompt_each_change_the_numbers() -> None:
    streams = {tuple(position_uniforms(seed, prompt_id, 3)) for seed in range(5) for prompt_id in range(5)}
    assert len(streams) == 25


def test_the_uniform_numbers_are_spread_evenly() -> None:
    numbers = np.concatenate([position_uniforms(3, prompt_id, 10) for prompt_id in range(1000)])
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    # 9 degrees of freedom: beyond 27.9 once in a thousand seeds.
    assert chi_square(counts, np.full(10, 1000.0)) < 27.9


def test_teacher_seeds_differ_and_fit_the_wire() -> None:
    seeds = [teacher_seed(a, b, c) for a in range(4) for b in range(4) for c in range(4)]
    assert len(set(seeds)) == 64
    assert all(0 <= seed < 2**63 for seed in seeds)
    # The separators matter: 1, 23 is not 12, 3.
    assert teacher_seed(1, 23, 4) != teacher_seed(12, 3, 4)
    assert teacher_seed(1, 2, 3) == teacher_seed(1, 2, 3)


def test_the_coins_are_these() -> None:
    # Others would make every earlier run irreproducible.
    assert [prompt_coin(0, 0), prompt_coin(7, 11)] == [0.4790100451835769, 0.48637331827838637]


def test_coins_are_spread_evenly_and_apart_from_the_positions() -> None:
    coins = np.array([prompt_coin(3, prompt_id) for prompt_id in range(2000)])
    assert ((coins >= 0) & (coins < 1)).all()
    counts, _ = np.histogram(coins, bins=10, range=(0, 1))
    # 9 degrees of freedom: beyond 27.9 once in a thousand seeds.
    assert chi_square(counts, np.full(10, 200.0)) < 27.9
    first = np.array([position_uniforms(3, prompt_id, 1)[0] for prompt_id in range(2000)])
    # Of independent numbers the correlation is 0 to within 1 / sqrt(2000) = 0.022.
    assert abs(np.corrcoef(coins, first)[0, 1]) < 0.08
    assert prompt_coin(1, 23) != prompt_coin(12, 3)


@given(st.lists(st.floats(0, 0.1), max_size=10), st.floats(0, 1, exclude_max=True))
def test_a_place_is_drawn_by_its_probability(probabilities: list[float], coin: float) -> None:
    place = switch_place(probabilities, coin)
    ends = [sum(probabilities[: i + 1]) for i in range(len(probabilities))]
    if place is None:
        assert not ends or coin >= ends[len(ends) - 1]
    else:
        assert (0.0 if place == 0 else ends[place - 1]) <= coin < ends[place]


def test_places_of_probability_zero_are_never_drawn() -> None:
    assert {switch_place([0.0, 0.5, 0.0, 0.25], coin / 100) for coin in range(100)} == {1, 3, None}
    assert switch_place([], 0.0) is None
    assert switch_place([0.0], 0.0) is None
