"""Whether a switch comes before the damage or behind it, by hand and against the control."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adaswitch.method.damage import damage_of
from adaswitch.method.distribution import TopK
from adaswitch.method.health import HARDLY
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Candidates, Ending, Rollout

SOUND, BAD, OTHER = 0, 2, 3
"""Tokens by what the teacher gives them: 0.9, 0.005, and none of the candidates at all."""
PROBABILITIES = [0.9, 0.09, 0.005]


def text(*tokens: int, switch: int | None = None, risk: float | None = 0.0, k: int = 3) -> Rollout:
    """A completion of the student's ``tokens`` up to ``switch``, and sound ones of the teacher's from there.

    ``risk`` is what the student gave to damage at the switch; None if that is not on record.
    """
    length = len(tokens)
    num_seen = length if switch is None else switch + 1
    row = torch.tensor(PROBABILITIES[:k]).log()
    top = None
    if risk is not None:
        ids = np.tile(np.array([SOUND, BAD], np.int32), (num_seen, 1))
        top = Candidates(
            ids, np.tile(np.log(np.array([1 - risk + 1e-9, risk + 1e-9], np.float32)), (num_seen, 1))
        )
    return Rollout(
        prompt=Prompt(0, (1,), record=1, step=0),
        completion_token_ids=tokens,
        by_teacher=np.arange(length) >= (length if switch is None else switch),
        teacher=TopK(torch.arange(k).repeat(length, 1), row.repeat(length, 1), 10),
        divergences=(0.1,) * num_seen,
        thresholds=(float("inf"),) * num_seen,
        ending=Ending.LENGTH,
        weights_version=0,
        student_top=top,
    )


def test_a_switch_is_late_behind_a_token_that_the_teacher_hardly_ever_writes() -> None:
    late = text(SOUND, BAD, SOUND, SOUND, switch=2)
    in_time = text(SOUND, SOUND, SOUND, BAD, switch=2)
    assert damage_of([late, in_time]).late == 0.5
    assert damage_of([in_time]).late == 0.0


def test_a_token_beyond_the_candidates_has_at_most_what_they_leave_over() -> None:
    assert damage_of([text(OTHER, SOUND, SOUND, switch=1)]).late == 1.0
    # With two candidates no more than 0.01 is left over; with one it is 0.1, of which nothing can be said.
    assert damage_of([text(OTHER, SOUND, SOUND, switch=1, k=2)]).late == 1.0
    assert damage_of([text(OTHER, SOUND, SOUND, switch=1, k=1)]).late is None
    assert damage_of([text(SOUND, SOUND, SOUND, switch=1, k=1)]).late == 0.0


def test_without_a_switch_nothing_is_said() -> None:
    found = damage_of([text(SOUND, BAD), text(SOUND, SOUND)])
    assert (found.late, found.late_at_random) == (None, None)


def test_a_switch_at_the_first_token_comes_in_time() -> None:
    found = damage_of([text(SOUND, BAD, switch=0)])
    assert (found.late, found.late_at_random) == (0.0, 0.0)


def test_what_chance_would_give_by_hand() -> None:
    # Of two texts one is damaged at the first token: so is half of what a switch at any later place would follow.
    damaged, sound = text(BAD, SOUND, SOUND, switch=1), text(SOUND, SOUND, SOUND, SOUND, switch=3)
    found = damage_of([damaged, sound])
    assert found.late == 0.5
    assert found.late_at_random == pytest.approx(0.5)


def test_a_rule_that_stops_each_time_before_the_damage_is_better_than_chance() -> None:
    # The token that was thrown away at each switch would have been damage.
    texts = [text(*[SOUND] * 6, switch=place, risk=1.0) for place in (1, 2, 3, 4)]
    found = damage_of(texts)
    assert found.late == 0.0
    # Places 1 to 4: at token 1 one in four is damaged, at 2 one in three of the rest, at 3 one in two.
    assert found.late_at_random == pytest.approx((0 + 1 / 4 + 1 / 2 + 3 / 4) / 4, abs=1e-6)


def test_without_the_student_s_candidates_at_a_switch_chance_is_not_known() -> None:
    older = text(SOUND, BAD, SOUND, switch=2, risk=None)
    assert damage_of([older]).late == 1.0
    assert damage_of([older]).late_at_random is None


def test_places_that_are_drawn_without_a_look_are_as_late_as_chance() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(400):
        place, tokens = int(rng.integers(1, 8)), [BAD if rng.random() < 0.1 else SOUND for _ in range(9)]
        texts.append(text(*tokens, switch=place, risk=0.1))
    found = damage_of(texts)
    assert found.late == pytest.approx(found.late_at_random, abs=0.04)
    assert found.late == pytest.approx(np.mean([1 - 0.9**place for place in range(1, 8)]), abs=0.06)


def test_a_token_of_just_the_limit_is_no_damage() -> None:
    row = torch.tensor([[0.9, HARDLY + 1e-6]]).log()
    edge = replace(
        text(1, SOUND, switch=1, k=2), teacher=TopK(torch.tensor([[0, 1], [0, 1]]), row.repeat(2, 1), 10)
    )
    assert damage_of([edge]).late == 0.0
