"""Taking over, the slow way: one token after the other, both models asked before each, in plain Python floats."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import hypothesis

from adaswitch.method.rollout import Ending
from adaswitch.method.sampling import teacher_seed
from adaswitch.method.takeover.cuts.last_safe import LastSafe
from adaswitch.method.takeover.holds.recovered import Recovered
from adaswitch.method.takeover.holds.sentence import Sentence
from adaswitch.method.takeover.holds.to_the_end import ToTheEnd
from adaswitch.method.takeover.holds.tokens import Tokens
from adaswitch.method.takeover.holds.until_low import UntilLow
from adaswitch.method.takeover.take_over import Ways
from adaswitch.method.takeover.triggers.accumulated import Accumulated
from adaswitch.method.takeover.triggers.adaptive import Adaptive
from adaswitch.method.takeover.triggers.base import Trigger
from adaswitch.method.takeover.triggers.decaying import Decaying
from adaswitch.method.takeover.triggers.fixed import Fixed
from adaswitch.method.takeover.triggers.over_entropy import OverEntropy
from adaswitch.method.takeover.triggers.probability import Probability
from adaswitch.method.takeover.triggers.redirect import Redirect
from adaswitch.method.takeover.triggers.shared_scale import SharedScale
from adaswitch.method.takeover.triggers.top_k import TopKTrigger
from adaswitch.method.takeover.triggers.unsure import Unsure
from tests.worlds import World, drawn, over, slow_divergence

TIE = 1e-4
TEXTS = ["wait", "a", "b.", "c", " No", "d!", "e"]
"""What the tokens of a world read: 0 and 4 begin a second thought, 2 and 5 end a sentence."""
SECOND_THOUGHTS, ENDS = {0, 4}, {2, 5}


@dataclass
class Slow:
    """What was written; ``divergences`` of the places at which the student was compared, as far as they still count."""

    tokens: list[int] = field(default_factory=list)
    by_teacher: list[bool] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    divergences: dict[int, float] = field(default_factory=dict)
    ending: Ending = Ending.LENGTH
    num_legs: int = 0
    num_cut_back: int = 0
    num_looks: int = 0


class SlowTakeOver:
    """One rollout in ``world``. ``assume`` gives up an example in which a number all but equals its threshold."""

    def __init__(
        self, world: World, ways: Ways, assume: Callable[[bool], object] = hypothesis.assume
    ) -> None:
        self.assume = assume
        self.world, self.ways, self.slow = world, ways, Slow()
        limits = (world.max_teacher_tokens, ways.budget.tokens if ways.budget else None)
        self.limit = min([limit for limit in limits if limit is not None], default=math.inf)
        self.times = math.inf if ways.budget is None or ways.budget.times is None else ways.budget.times

    def roll_out(self) -> Slow:
        slow, values = self.slow, list[float]()
        while not self.over():
            spent = slow.num_legs >= self.times or self.num_teacher() >= self.limit
            if spent and not self.goes_on_alone():
                slow.ending = Ending.BUDGET
                return slow
            p, q = self.both()
            position = len(slow.tokens)
            proposal = drawn(q, self.world.seed, self.world.prompt.id, position)
            slow.divergences[position] = self.divergence(self.ways.trigger.watched)
            fires, value, threshold = self.judged(values, p, q, proposal)
            if spent or not fires:
                values.append(value)
                self.put(proposal, p, by_teacher=False)
                continue
            self.cut_back(values, threshold)
            slow.num_legs += 1
            self.leg()
            values = []
        if slow.tokens[len(slow.tokens) - 1] in self.world.stop_token_ids:
            slow.ending = Ending.STOP
        return slow

    def goes_on_alone(self) -> bool:
        if self.ways.budget is not None:
            return self.ways.budget.then == "student"
        return not isinstance(self.ways.hold, ToTheEnd)

    def over(self) -> bool:
        return over(self.slow.tokens, self.world)

    def num_teacher(self) -> int:
        return sum(self.slow.by_teacher)

    def both(self) -> tuple[list[float], list[float]]:
        tokens = [*self.world.prompt.token_ids, *self.slow.tokens]
        p, q = self.world.teacher(tokens), self.world.student(tokens)
        return p.double().exp().tolist(), q.double().exp().tolist()

    def divergence(self, metric: str) -> float:
        return slow_divergence(metric, *self.both(), self.world.k)

    def put(self, token: int, p: list[float], *, by_teacher: bool) -> None:
        self.slow.tokens.append(token)
        self.slow.by_teacher.append(by_teacher)
        self.slow.rows.append(p)

    def judged(
        self, values: list[float], p: list[float], q: list[float], proposal: int
    ) -> tuple[bool, float, float]:
        """Whether the trigger fires, what it measured, and its threshold."""
        trigger, k = self.ways.trigger, self.world.k
        divergence = self.divergence(trigger.watched)
        best = sorted(range(len(p)), key=lambda token: -p[token])
        match trigger:
            case TopKTrigger():
                return proposal not in best[: trigger.accept_top_k], divergence, math.nan
            case Probability():
                self.assume(abs(p[proposal] - trigger.min_probability) > TIE)
                improbable = p[proposal] < trigger.min_probability or proposal not in best[:k]
                return improbable, divergence, math.nan
            case Redirect():
                return self.redirects(trigger, best, q), divergence, math.nan
            case Unsure():
                value = slow_entropy(p, k)
            case _:
                value = divergence
        threshold = slow_threshold(trigger, values, self.world, p, len(self.slow.tokens))
        self.assume(not math.isfinite(threshold) or abs(value - threshold) > TIE * (1 + value))
        return value > threshold, value, threshold

    def redirects(self, trigger: Redirect, best: list[int], q: list[float]) -> bool:
        likeliest = max(q[token] for token in SECOND_THOUGHTS)
        others = [token for token in best[: self.world.k] if token not in SECOND_THOUGHTS]
        num_likelier = sum(q[token] > likeliest for token in others)
        return best[0] in SECOND_THOUGHTS and num_likelier >= trigger.student_top_k

    def cut_back(self, values: list[float], threshold: float) -> None:
        slow, cut = self.slow, self.ways.cut
        if not isinstance(cut, LastSafe):
            return
        safe = cut.safe if cut.safe is not None else cut.share * threshold
        left = math.inf if cut.most_tokens is None else cut.most_tokens
        for value in values[::-1]:
            self.assume(abs(value - safe) > TIE * (1 + value))
            if value <= safe or left == 0:
                break
            left -= 1
            slow.num_cut_back += 1
            slow.tokens.pop(), slow.by_teacher.pop(), slow.rows.pop()
            slow.divergences.pop(len(slow.tokens) + 1)

    def leg(self) -> None:
        match self.ways.hold:
            case ToTheEnd():
                self.guide(math.inf)
            case Tokens(num=num):
                self.guide(num)
            case Sentence() as hold:
                self.sentences(hold)
            case UntilLow() as hold:
                self.guide(hold.step_tokens)
                while self.may_write() and self.look(hold.metric) > hold.tau:
                    self.guide(hold.step_tokens)
            case Recovered() as hold:
                self.recover(hold)

    def may_write(self) -> bool:
        return not self.over() and self.num_teacher() < self.limit

    def look(self, metric: str) -> float:
        self.slow.num_looks += 1
        value, hold = self.divergence(metric), self.ways.hold
        if isinstance(hold, UntilLow):
            self.assume(abs(value - hold.tau) > TIE)
        return value

    def sentences(self, hold: Sentence) -> None:
        begun = len(self.slow.tokens)
        for _ in range(hold.num):
            left = hold.most_tokens - (len(self.slow.tokens) - begun)
            if left > 0 and self.may_write():
                self.guide(left, ENDS)

    def recover(self, hold: Recovered) -> None:
        evidence = 0.0
        self.guide(1)
        while self.may_write():
            evidence = max(0.0, evidence + hold.allowed - self.look(hold.metric))
            self.assume(abs(evidence - hold.recovery) > TIE)
            if evidence > hold.recovery:
                break
            self.guide(1)

    def guide(self, num_tokens: float, ends: Collection[int] = ()) -> None:
        begun = len(self.slow.tokens)
        seed = teacher_seed(self.world.seed, self.world.prompt.id, begun)
        while self.may_write() and len(self.slow.tokens) - begun < num_tokens:
            p, _ = self.both()
            token = drawn(p, seed, 0, len(self.slow.tokens) - begun)
            self.put(token, p, by_teacher=True)
            if token in ends:
                break


def slow_entropy(p: list[float], k: int) -> float:
    """The entropy of the k most likely tokens and the rest."""
    best = sorted(p, reverse=True)
    coarse = best[:k] if k >= len(p) else [*best[:k], math.fsum(best[k:])]
    return -math.fsum(value * math.log(value) for value in coarse if value > 0)


def slow_threshold(
    trigger: Trigger, values: list[float], world: World, p: list[float], position: int
) -> float:
    """In nats; infinity where there is none."""
    match trigger:
        case Adaptive() | Unsure():
            recent = values[len(values) - trigger.window :] if len(values) >= trigger.window else []
            return (
                max(trigger.factor * math.fsum(recent) / len(recent), trigger.floor) if recent else math.inf
            )
        case Fixed():
            return trigger.tau
        case Decaying():
            return trigger.tau * math.e ** (-trigger.decay * position)
        case SharedScale():
            scale = world.prompt.divergence_scale
            return math.inf if scale is None else max(trigger.factor * scale, trigger.floor)
        case OverEntropy():
            return max(trigger.factor * slow_entropy(p, world.k), trigger.floor)
        case Accumulated():
            # The largest sum of any values at the end is the cumulative sum that never falls below 0.
            ends = [
                math.fsum(value - trigger.allowed for value in values[i:]) for i in range(len(values) + 1)
            ]
            return (
                trigger.drift + trigger.allowed - max(0.0, *ends)
                if values
                else trigger.drift + trigger.allowed
            )
        case _:
            raise AssertionError(trigger)
