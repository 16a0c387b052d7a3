"""Triggers, cuts and evidence by hand: the numbers that the docstrings speak of."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.method.distribution import TopK, top_k
from adaswitch.method.kept_logits import KeptLogits
from adaswitch.method.prompt import Prompt
from adaswitch.method.takeover.cuts.last_safe import LastSafe
from adaswitch.method.takeover.evidence import sum_of
from adaswitch.method.takeover.places import Places
from adaswitch.method.takeover.stretch import Stretch
from adaswitch.method.takeover.triggers.accumulated import Accumulated
from adaswitch.method.takeover.triggers.adaptive import Adaptive
from adaswitch.method.takeover.triggers.base import ThresholdTrigger
from adaswitch.method.takeover.triggers.decaying import Decaying
from adaswitch.method.takeover.triggers.over_entropy import OverEntropy
from adaswitch.method.takeover.triggers.redirect import Redirect
from adaswitch.method.takeover.triggers.shared_scale import SharedScale
from adaswitch.method.takeover.triggers.unsure import Unsure

INF = math.inf
PROMPT = Prompt(0, (1,), divergence_scale=0.2)


def rows(*probabilities: list[float]) -> torch.Tensor:
    return torch.tensor(probabilities).log()


def places(
    divergences: list[float], start: int = 0, teacher: TopK | None = None, student: Any = None
) -> Places:
    """Places with these divergences; teacher and student are sure of nothing unless they say so."""
    even = torch.full((len(divergences), 4), 0.25).log()
    scores = top_k(even, 4) if teacher is None else teacher
    return Places(
        start, [0] * len(divergences), divergences, scores, KeptLogits(even if student is None else student)
    )


def thresholds(trigger: ThresholdTrigger, seen: list[float], new: list[float], start: int = 0) -> list[float]:
    at = places(new, start)
    return list(trigger.thresholds(seen, new, at, PROMPT))


def test_evidence_adds_up_and_never_falls_below_nothing() -> None:
    assert sum_of([]) == 0
    assert sum_of([1.0, 2.0]) == 3
    assert sum_of([1.0, -5.0, 2.0]) == 2


def test_accumulated_over_chunks() -> None:
    trigger = Accumulated(drift=1.0, allowed=0.1)
    # The evidence before each place is 0, .4, .6, .7 and 0.
    expected = pytest.approx([1.1, 0.7, 0.5, 0.4, 1.1])
    values = [0.5, 0.3, 0.2, -0.9, 0.0]
    for split in range(5):
        got = thresholds(trigger, [], values[:split]) + thresholds(trigger, values[:split], values[split:])
        assert got == expected


def test_adaptive_fills_its_window_over_chunks() -> None:
    trigger = Adaptive(window=2, factor=2.0)
    assert thresholds(trigger, [9.0, 0.1], [0.3, 0.5]) == pytest.approx([9.1, 0.4])
    assert thresholds(trigger, [], [0.1, 0.3, 0.5]) == pytest.approx([INF, INF, 0.4])


def test_decaying_counts_the_tokens_of_the_completion() -> None:
    trigger = Decaying(tau=0.5, decay=0.1)
    assert thresholds(trigger, [0.0], [0.0, 0.0], start=7) == pytest.approx(
        [0.5 * math.exp(-0.7), 0.5 * math.exp(-0.8)]
    )


def test_shared_scale_is_the_prompts() -> None:
    trigger = SharedScale(factor=3.0, floor=0.1)
    assert thresholds(trigger, [], [1.0, 1.0]) == pytest.approx([0.6, 0.6])
    assert list(trigger.thresholds([], [1.0], places([1.0]), Prompt(0, (1,)))) == [INF]


def test_over_entropy_is_a_multiple_of_the_teachers_own() -> None:
    assert thresholds(OverEntropy(factor=2.0), [], [0.0]) == pytest.approx([2 * math.log(4)])
    sure = top_k(rows([0.9997, 0.0001, 0.0001, 0.0001]), 4)
    at = places([0.0], teacher=sure)
    assert list(OverEntropy(factor=1.0, floor=0.1).thresholds([], [0.0], at, PROMPT)) == [0.1]


async def test_unsure_records_no_threshold_beside_divergences() -> None:
    sure, unsure = [0.97, 0.01, 0.01, 0.01], [0.25] * 4
    teacher = top_k(rows(sure, sure, unsure, sure), 4)
    stretch = Stretch(Unsure(window=2, factor=2.0), PROMPT)
    crossing, shown = await stretch.look(places([5.0, 0.1, 0.2, 0.3], teacher=teacher))
    assert (crossing, shown) == (2, [INF, INF, -INF])
    assert stretch.values == pytest.approx([0.168, 0.168, math.log(4)], abs=1e-3)
    assert stretch.threshold == pytest.approx(0.336, abs=1e-3)


@pytest.mark.parametrize(
    ("teacher", "student", "student_top_k", "fires"),
    [
        ([0.4, 0.3, 0.2, 0.1], [0.1, 0.4, 0.3, 0.2], 3, True),
        ([0.4, 0.3, 0.2, 0.1], [0.25, 0.4, 0.2, 0.15], 2, False),
        ([0.4, 0.3, 0.2, 0.1], [0.25, 0.4, 0.2, 0.15], 1, True),
        ([0.3, 0.4, 0.2, 0.1], [0.1, 0.4, 0.3, 0.2], 1, False),
    ],
    ids=["far down", "second", "not the first", "the teacher goes on"],
)
async def test_redirect(teacher: list[float], student: list[float], student_top_k: int, fires: bool) -> None:
    trigger = Redirect(student_top_k=student_top_k).bound(lambda: ["Wait", "a", "b", "c"], "policy")
    at = places([0.1], teacher=top_k(rows(teacher), 4), student=rows(student))
    verdict = await trigger.judge([], at, PROMPT)
    assert (verdict.crossing == 0) == fires
    assert verdict.thresholds == ([-INF] if fires else [INF])


async def test_redirect_must_be_bound() -> None:
    with pytest.raises(ValueError, match=r"words names tokens by their texts: call policy\.bound"):
        await Redirect().judge([], places([0.1]), PROMPT)


@pytest.mark.parametrize(
    ("cut", "num_back"),
    [
        (LastSafe(safe=0.1), 2),
        (LastSafe(safe=0.2), 2),
        (LastSafe(safe=0.3), 1),
        (LastSafe(safe=0.0), 4),
        (LastSafe(safe=0.0, most_tokens=3), 3),
        (LastSafe(safe=0.1, most_tokens=1), 1),
        (LastSafe(share=0.5), 0),
        (LastSafe(share=0.1), 2),
    ],
)
def test_the_last_safe_place(cut: LastSafe, num_back: int) -> None:
    assert cut.num_back([0.4, 0.1, 0.3, 0.4, 2.0], 1.0) == num_back
    assert cut.num_back([2.0], 1.0) == 0


@given(st.lists(st.floats(0, 5), min_size=1, max_size=12), st.floats(0, 5))
def test_what_lies_behind_the_cut_was_never_safe(values: list[float], safe: float) -> None:
    back = LastSafe(safe=safe).num_back(values, 1.0)
    kept = values[: len(values) - 1 - back]
    assert all(value > safe for value in values[len(kept) : len(values) - 1])
    assert not kept or kept[len(kept) - 1] <= safe
