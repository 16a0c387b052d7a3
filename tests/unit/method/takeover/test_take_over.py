"""Every way of taking over, against one slow reference that asks both models before every token."""

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.base import Policy
from adaswitch.method.policies.prefix import Prefix
from adaswitch.method.policies.relay import Relay
from adaswitch.method.policies.shared_scale import SharedScale
from adaswitch.method.policies.skd import SKD
from adaswitch.method.policies.take_over import TakeOver
from adaswitch.method.policies.taking_over import TakeOverPolicy
from adaswitch.method.policies.threshold import Threshold
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.method.takeover.budget import RolloutBudget
from adaswitch.method.takeover.cuts.last_safe import LastSafe
from adaswitch.method.takeover.holds.recovered import Recovered
from adaswitch.method.takeover.holds.sentence import Sentence
from adaswitch.method.takeover.holds.tokens import Tokens
from adaswitch.method.takeover.holds.until_low import UntilLow
from adaswitch.method.takeover.triggers.accumulated import Accumulated
from adaswitch.method.takeover.triggers.adaptive import Adaptive
from adaswitch.method.takeover.triggers.fixed import Fixed
from adaswitch.method.takeover.triggers.own import Own
from adaswitch.method.takeover.triggers.probability import Probability
from adaswitch.method.takeover.triggers.shared_scale import SharedScale as SharedScaleTrigger
from adaswitch.method.takeover.triggers.top_k import TopKTrigger
from tests.slow_takeover import TEXTS, Slow, SlowTakeOver
from tests.ways import CHUNKS, METRICS, PRESETS, take_overs
from tests.worlds import World, worlds


@dataclass(frozen=True)
class ScaledWorld(World):
    """A world whose prompt has a scale."""

    @property
    def prompt(self) -> Prompt:
        return replace(super().prompt, divergence_scale=0.05)


WORLDS = worlds(ScaledWorld)


def assert_same(rollout: Rollout, slow: Slow, world: World) -> None:
    assert list(rollout.completion_token_ids) == slow.tokens
    assert rollout.by_teacher.tolist() == slow.by_teacher
    assert rollout.ending is slow.ending
    for ids, logprobs, p in zip(rollout.teacher.ids, rollout.teacher.logprobs, slow.rows, strict=True):
        assert set(ids.tolist()) == set(sorted(range(len(p)), key=lambda token: -p[token])[: world.k])
        assert logprobs.exp().tolist() == pytest.approx([p[i] for i in ids.tolist()], rel=1e-5)
    num_watched = next(i for i in range(len(slow.tokens) + 1) if i not in slow.divergences)
    expected = [slow.divergences[i] for i in range(num_watched)]
    assert list(rollout.divergences) == pytest.approx(expected, rel=1e-4, abs=2e-6)
    costs, num_teacher = rollout.costs, sum(slow.by_teacher)
    assert costs.teacher_tokens == num_teacher, "no token of the teacher's is thrown away"
    assert costs.student_tokens - costs.wasted_tokens == len(slow.tokens) - num_teacher
    assert costs.scored_tokens == costs.student_tokens
    assert costs.wasted_tokens >= slow.num_cut_back + slow.num_looks


def assert_equals_reference(world: World, policy: TakeOverPolicy) -> None:
    ways = policy.ways().bound(lambda: TEXTS)
    rollout, _, _ = world.roll_out(policy)
    assert_same(rollout, SlowTakeOver(world, ways).roll_out(), world)


@settings(max_examples=500)
@given(WORLDS, take_overs())
def test_every_combination_equals_judging_every_token(world: ScaledWorld, policy: TakeOver) -> None:
    assert_equals_reference(world, policy)


@settings(max_examples=300)
@given(WORLDS, PRESETS)
def test_every_papers_way_equals_judging_every_token(world: ScaledWorld, policy: TakeOverPolicy) -> None:
    assert_equals_reference(world, policy)


@settings(max_examples=150)
@given(WORLDS, st.one_of(take_overs(), PRESETS), CHUNKS)
def test_the_chunk_size_changes_the_costs_alone(
    world: ScaledWorld, policy: TakeOverPolicy, size: int
) -> None:
    one, _, _ = world.roll_out(policy)
    other, _, _ = world.roll_out(policy.model_copy(update={"chunk_size": size}))
    assert_alike(one, other)


def assert_alike(one: Rollout, other: Rollout) -> None:
    """The same in all but the costs."""
    assert one.completion_token_ids == other.completion_token_ids
    assert one.by_teacher.tolist() == other.by_teacher.tolist()
    assert torch.equal(one.teacher.logprobs, other.teacher.logprobs)
    assert one.divergences == pytest.approx(other.divergences, rel=1e-5, abs=1e-7)
    assert one.thresholds == pytest.approx(other.thresholds, rel=1e-5, abs=1e-6)
    assert one.ending is other.ending


TAUS = st.sampled_from([0.0, 0.05, 0.3])
OWN = {"path": "tests.own_rules:Rule", "settings": {"tau": 0.05}}
OLD_AND_NEW = st.one_of(
    st.builds(
        lambda window, factor, floor, metric: (
            AdaSwitch(window=window, factor=factor, floor=floor, metric=metric),
            TakeOver(trigger=Adaptive(window=window, factor=factor, floor=floor, metric=metric)),
        ),
        st.integers(1, 6),
        st.sampled_from([1.0, 3.0]),
        st.sampled_from([0.0, 0.1]),
        METRICS,
    ),
    st.builds(
        lambda tau, metric: (
            Threshold(tau=tau, metric=metric),
            TakeOver(trigger=Fixed(tau=tau, metric=metric)),
        ),
        TAUS,
        METRICS,
    ),
    st.builds(
        lambda factor: (SharedScale(factor=factor), TakeOver(trigger=SharedScaleTrigger(factor=factor))),
        st.sampled_from([1.0, 4.0]),
    ),
    st.builds(
        lambda num: (
            SKD(accept_top_k=num),
            TakeOver(trigger=TopKTrigger(accept_top_k=num), hold=Tokens(num=1)),
        ),
        st.integers(1, 3),
    ),
    st.builds(
        lambda tau, num: (
            Relay(tau=tau, guide_tokens=num),
            TakeOver(trigger=Fixed(tau=tau), hold=Tokens(num=num)),
        ),
        TAUS,
        st.integers(1, 5),
    ),
    st.builds(
        lambda least, num: (
            Relay(judge="probability", min_probability=least, guide_tokens=num),
            TakeOver(trigger=Probability(min_probability=least), hold=Tokens(num=num)),
        ),
        st.sampled_from([0.02, 0.3]),
        st.integers(1, 5),
    ),
    st.just((AdaSwitch(rule=OWN), TakeOver(trigger=Own(rule=OWN)))),
)


@settings(max_examples=200)
@given(WORLDS, OLD_AND_NEW, CHUNKS)
def test_the_older_policies_are_ways_of_taking_over(
    world: ScaledWorld, pair: tuple[Policy, TakeOver], chunk_size: int
) -> None:
    old, new = (policy.model_copy(update={"chunk_size": chunk_size}) for policy in pair)
    one, student, teacher = world.roll_out(old)
    other, same_student, same_teacher = world.roll_out(new)
    assert_alike(one, other)
    assert (one.divergences, one.thresholds) == (other.divergences, other.thresholds)
    assert (student.calls, teacher.calls) == (same_student.calls, same_teacher.calls)
    assert old.hands_back == new.hands_back
    assert old.first_place == new.first_place


WIDE = ScaledWorld(seed=3, vocab_size=7, k=7, max_new_tokens=24)


def test_what_is_cut_back_is_the_students_and_is_counted() -> None:
    policy = TakeOver(trigger=Fixed(tau=0.3), cut=LastSafe(safe=0.001), chunk_size=24)
    world = replace(WIDE, seed=1)
    at_crossing, _, _ = world.roll_out(policy.model_copy(update={"cut": TakeOver().cut}))
    cut_back, _, _ = world.roll_out(policy)
    place, crossing = cut_back.switch_position, at_crossing.switch_position
    assert place < crossing
    assert cut_back.completion_token_ids[:place] == at_crossing.completion_token_ids[:place]
    assert cut_back.divergences == at_crossing.divergences[: place + 1]
    assert cut_back.thresholds[place] == -float("inf")
    assert cut_back.costs.wasted_tokens == at_crossing.costs.wasted_tokens + crossing - place
    assert cut_back.costs.student_tokens == at_crossing.costs.student_tokens == 24


@pytest.mark.parametrize(("then", "ending"), [("student", Ending.LENGTH), ("end", Ending.BUDGET)])
def test_what_follows_the_last_leg(then: str, ending: Ending) -> None:
    budget = RolloutBudget(times=2, then=then)
    policy = TakeOver(trigger=Fixed(tau=0.0), hold=Tokens(num=3), budget=budget)
    rollout, _, _ = WIDE.roll_out(policy)
    assert rollout.ending is ending
    assert rollout.by_teacher.tolist()[:6] == [True] * 6
    assert not rollout.by_teacher[6:].any()
    assert rollout.num_tokens == (24 if then == "student" else 6)


def test_a_budget_of_tokens_stops_the_teacher_at_once_and_the_student_goes_on() -> None:
    policy = TakeOver(trigger=Fixed(tau=0.0), budget=RolloutBudget(tokens=5))
    rollout, _, _ = WIDE.roll_out(policy)
    assert rollout.by_teacher.tolist() == [True] * 5 + [False] * 19
    assert policy.hands_back


def test_a_sentence_is_asked_for_once_and_none_of_it_is_thrown_away() -> None:
    policy = TakeOver(trigger=Fixed(tau=0.0), hold=Sentence(num=1), budget=RolloutBudget(times=1))
    rollout, _, teacher = WIDE.roll_out(policy.bound(lambda: TEXTS))
    written = [
        token for token, own in zip(rollout.completion_token_ids, rollout.by_teacher, strict=True) if own
    ]
    assert written[len(written) - 1] in {2, 5}
    assert not {2, 5} & set(written[:-1])
    assert [call for call in teacher.calls if call[0] == "generate"] == [("generate", 0, 24)]


def test_a_prefix_is_all_that_is_written() -> None:
    for num_tokens, expected in ((5, 5), (24, 24), (99, 24)):
        rollout, student, _ = WIDE.roll_out(Prefix(num_tokens=num_tokens))
        assert (rollout.num_tokens, rollout.ending) == (expected, Ending.LENGTH)
        assert student.calls == [(0, expected)]
        assert not rollout.by_teacher.any()


def test_the_worlds_show_every_part_at_work() -> None:
    """So that the properties above have seen what they are about."""
    turns, cut_back, looks, endings = set(), 0, 0, set()
    for seed in range(30):
        world = ScaledWorld(seed, 7, 4, 24)
        for policy in (
            TakeOver(
                trigger=Adaptive(window=2, factor=1.5),
                hold=UntilLow(tau=0.05),
                cut=LastSafe(share=0.3),
            ),
            TakeOver(
                trigger=Accumulated(drift=0.3, allowed=0.05),
                hold=Recovered(recovery=0.1, allowed=0.1),
                budget=RolloutBudget(times=2, then="end"),
            ),
        ):
            slow = SlowTakeOver(world, policy.ways(), assume=bool).roll_out()
            turns.add(sum(a != b for a, b in pairwise(slow.by_teacher)))
            cut_back += slow.num_cut_back
            looks += slow.num_looks
            endings.add(slow.ending)
    assert len(turns) > 4
    assert cut_back > 10
    assert looks > 30
    assert endings == {Ending.LENGTH, Ending.BUDGET}
