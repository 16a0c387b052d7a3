"""Drawing tokens: the noise of a place, the frequencies of what is drawn, nucleus, and what changes no token."""

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adaswitch.method.coins import prompt_coin, switch_place
from adaswitch.method.sampling import PIECE, Place, draw, gumbel_noise, teacher_seed

P = [0.1, 0.4, 0.0, 0.3, 0.2]
NUM_DRAWS = 4000
PLACES = [Place(6, prompt_id, position) for prompt_id in range(80) for position in range(50)]
ANY_PLACE = st.builds(Place, *[st.integers(0, 2**64 - 1)] * 3)


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    seen = expected > 0
    assert (counts[~seen] == 0).all()
    return float((((counts - expected) ** 2)[seen] / expected[seen]).sum())


def draw_at(places: Sequence[Place], probabilities: Sequence[float] = P, **options: float) -> list[int]:
    """Draw from the same distribution at each of the places."""
    logprobs = torch.tensor([probabilities], dtype=torch.float64).log()
    return draw(logprobs.expand(len(places), -1), places, **options).tolist()


def philox(place: Place, num_words: int) -> list[int]:
    """Philox4x64-10 as its authors define it (SC 2011): words of 32 bits, the low one of each 64 first."""
    words: list[int] = []
    for block in itertools.count(1):
        counter, key = [block, 0, 0, place.position], [place.seed, place.prompt_id]
        for _ in range(10):
            high0, low0 = divmod(0xD2E7470EE14C6C93 * counter[0], 2**64)
            high1, low1 = divmod(0xCA5A826395121157 * counter[2], 2**64)
            counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
            key = [(key[0] + 0x9E3779B97F4A7C15) % 2**64, (key[1] + 0xBB67AE8584CAA73B) % 2**64]
        words += [half for word in counter for half in (word % 2**32, word >> 32)]
        if len(words) >= num_words:
            return words[:num_words]
    raise AssertionError


@given(ANY_PLACE, st.integers(1, 20))
def test_the_noise_is_gumbels_of_philoxs_numbers(place: Place, num_ids: int) -> None:
    uniforms = [(word + 0.5) / 2**32 for word in philox(place, num_ids)]
    slow = [-math.log(-math.log1p(-u)) for u in uniforms]
    assert gumbel_noise([place], num_ids)[0].tolist() == pytest.approx(slow, rel=1e-5, abs=1e-5)


def test_the_noise_is_this() -> None:
    # Another would make every earlier run irreproducible.
    assert gumbel_noise([Place(0, 0, 0)], 3)[0].tolist() == pytest.approx(
        [3.342180, 4.455550, 0.054856], abs=1e-5
    )
    assert gumbel_noise([Place(7, 11, 13)], 3)[0].tolist() == pytest.approx(
        [2.014688, 0.675845, 0.482279], abs=1e-5
    )


@given(ANY_PLACE, st.integers(1, 2 * PIECE), st.integers(0, 2 * PIECE))
def test_a_tokens_noise_does_not_depend_on_the_vocabularys_size(place: Place, few: int, more: int) -> None:
    noise = gumbel_noise([place], few + more)[0]
    assert torch.equal(noise[:few], gumbel_noise([place], few)[0])
    assert noise.isfinite().all()


def test_the_numbers_at_the_ends_are_finite_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ends:
        state: ClassVar[dict[str, object]] = {}

        def __init__(self, **_: object) -> None:
            pass

        def random_raw(self, size: int) -> np.ndarray:
            return np.array([0, 2**64 - 1], dtype=np.uint64)[:size]

    monkeypatch.setattr(np.random, "Philox", Ends)
    noise = gumbel_noise([Place(0, 0, 0)], 4)[0].tolist()
    assert noise == pytest.approx([22.87, 22.87, -2.81, -2.81], abs=0.01)


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.sampled_from([0.0, 0.7, 1.0]))
def test_a_row_without_a_place_gets_its_most_likely_token(is_drawn: list[bool], temperature: float) -> None:
    logits = torch.randn(len(is_drawn), 30, generator=torch.Generator().manual_seed(0))
    places = [Place(1, i, 0) if own else None for i, own in enumerate(is_drawn)]
    every = draw(logits, [Place(1, i, 0) for i in range(len(is_drawn))], temperature)
    expected = torch.where(torch.tensor(is_drawn), every, logits.argmax(-1))
    assert torch.equal(draw(logits, places, temperature), expected)


def uniform(noise: Tensor) -> np.ndarray:
    """The noise through its distribution function, which gives numbers spread evenly between 0 and 1."""
    return (-(-noise.double()).exp()).exp().numpy()


def test_the_noise_has_gumbels_distribution() -> None:
    numbers = uniform(gumbel_noise(PLACES[:2000], 50).flatten())
    counts, _ = np.histogram(numbers, bins=100, range=(0, 1))
    # 99 degrees of freedom: beyond 148 once in a thousand seeds; these are fixed.
    assert chi_square(counts, np.full(100, 1000.0)) < 148
    # Large noise decides which token is drawn: of 100,000 numbers 10 are in the last of 10,000 parts.
    assert 1 <= (numbers > 1 - 1e-4).sum() <= 24


def test_neighbours_have_nothing_in_common() -> None:
    """Seeds, prompts, positions and ids next to each other: of 20,000 pairs the correlation is within 4 / sqrt."""
    size = 20_000
    one = uniform(gumbel_noise([Place(5, 6, 7)], size + 1)[0])
    others = [
        uniform(gumbel_noise([Place(*at)], size)[0]) for at in ((6, 6, 7), (5, 7, 7), (5, 6, 8), (6, 5, 7))
    ]
    for other in [*others, one[1:]]:
        assert abs(np.corrcoef(one[:size], other)[0, 1]) < 4 / math.sqrt(size)
        assert not np.isclose(one[:size], other, rtol=0, atol=1e-9).any()


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, P),
        ({"temperature": 0.5}, [0.01, 0.16, 0.0, 0.09, 0.04]),
        ({"temperature": 2.0}, [math.sqrt(p) for p in P]),
        ({"top_p": 0.6}, [0.0, 0.4, 0.0, 0.3, 0.0]),
    ],
)
@pytest.mark.parametrize("field", ["seed", "prompt_id", "position"])
def test_frequencies(field: str, options: dict[str, float], weights: list[float]) -> None:
    """Whichever of the three counts on, what is drawn is distributed as the softmax at the temperature."""
    places = [Place(1, 2, 3)._replace(**{field: i}) for i in range(NUM_DRAWS)]
    counts = np.bincount(draw_at(places, **options), minlength=5)
    # 3 degrees of freedom: beyond 16.3 once in a thousand seeds; these are fixed.
    assert chi_square(counts, NUM_DRAWS * np.array(weights) / sum(weights)) < 16.3


def test_rare_tokens_of_a_large_vocabulary_are_drawn_as_often_as_they_should() -> None:
    """One token of .9, and 50,000 of 2e-6 each: a tenth of the draws, evenly over the ids."""
    num_rare, places = 50_000, PLACES[:500]
    tokens = np.array(draw_at(places, [0.9, *[0.1 / num_rare] * num_rare]))
    rare = tokens[tokens > 0]
    assert abs(len(rare) - 50) < 4 * math.sqrt(45)
    counts, _ = np.histogram(rare, bins=4, range=(1, num_rare + 1))
    assert chi_square(counts, np.full(4, len(rare) / 4)) < 16.3


@pytest.mark.parametrize("other", ["next position", "next prompt", "teacher"])
def test_a_token_says_nothing_of_another_place(other: str) -> None:
    """Of two places that have to do with each other, all pairs of tokens are as frequent as they should be."""
    pairs = {
        "next position": PLACES[1:],
        "next prompt": PLACES[50:] + PLACES[:50],
        "teacher": [Place(teacher_seed(*place), 0, 0) for place in PLACES],
    }
    seen = [0, 1, 3, 4]
    counts = np.zeros((5, 5))
    for pair in zip(draw_at(PLACES), draw_at(pairs[other]), strict=False):
        counts[pair] += 1
    expected = np.outer(P, P)[np.ix_(seen, seen)] * counts.sum()
    # 15 degrees of freedom: beyond 37.7 once in a thousand seeds.
    assert chi_square(counts[np.ix_(seen, seen)], expected) < 37.7


def test_temperature_0_takes_the_most_likely() -> None:
    assert set(draw_at(PLACES[:100], temperature=0)) == {1}


def test_a_temperature_near_0_is_nearly_greedy() -> None:
    assert set(draw_at(PLACES[:100], temperature=0.01)) == {1}


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(1e-9, {1}), (0.39, {1}), (0.41, {1, 3}), (0.69, {1, 3}), (0.71, {1, 3, 4}), (0.95, {0, 1, 3, 4})],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(top_p: float, kept: set[int]) -> None:
    assert set(draw_at(PLACES[:400], top_p=top_p)) == kept


def test_a_set_that_reaches_top_p_exactly_is_large_enough() -> None:
    assert len(set(draw_at(PLACES[:400], [0.25] * 4, top_p=0.5))) == 2


def test_the_nucleus_is_taken_after_the_temperature() -> None:
    # At temperature 0.5 the first two hold .25 / .30 of it all.
    assert set(draw_at(PLACES[:400], top_p=0.8, temperature=0.5)) == {1, 3}
    assert set(draw_at(PLACES[:400], top_p=0.8, temperature=1.0)) == {1, 3, 4}


@given(st.integers(0, 10**6), st.permutations(range(6)), st.integers(1, 6), st.integers(0, 9))
def test_a_token_depends_on_its_row_and_place_alone(
    seed: int, order: list[int], num_rows: int, num_padding: int
) -> None:
    """Not on the rows beside it, their order, a constant in the logits, or on impossible tokens behind the last one."""
    logits = torch.from_numpy(3 * np.random.default_rng(seed).normal(size=(6, 9))).float()
    places = [Place(seed, i % 2, i) for i in range(6)]
    together = draw(logits, places, temperature=0.7).tolist()
    some = order[:num_rows]
    assert draw(logits[some], [places[i] for i in some], 0.7).tolist() == [together[i] for i in some]
    padded = torch.nn.functional.pad(logits, (0, num_padding), value=-torch.inf)
    assert draw(padded, places, 0.7).tolist() == together
    assert draw(logits.log_softmax(-1), places, 0.7).tolist() == together


def test_rounding_changes_almost_no_token() -> None:
    """An error of 1e-5 in the logits, as between two ways to compute them in float32, changes none of 4,000 tokens."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(NUM_DRAWS, 1000, generator=generator)
    near = logits + 1e-5 * torch.randn(logits.shape, generator=generator)
    assert torch.equal(draw(logits, PLACES), draw(near, PLACES))


def test_logits_in_half_precision_are_drawn_from_in_single() -> None:
    logits = torch.randn(400, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    kept = logits.clone()
    assert torch.equal(draw(logits, PLACES[:400]), draw(logits.float(), PLACES[:400]))
    assert torch.equal(logits, kept)


def test_the_logits_are_left_as_they_are() -> None:
    logits = torch.randn(4, 50)
    kept = logits.clone()
    draw(logits, PLACES[:4], temperature=1.0)
    assert torch.equal(logits, kept)


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
    first = gumbel_noise([Place(3, prompt_id, 0) for prompt_id in range(2000)], 1)[:, 0].numpy()
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
