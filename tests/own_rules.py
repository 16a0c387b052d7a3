"""Policies, switch rules, losses and tasks as a user writes them, right and wrong; named in tests by import path."""

from dataclasses import dataclass

from pydantic import Field

from adaswitch import (
    ChatTask,
    DivergenceLoss,
    Example,
    FixedThreshold,
    GeneratedTask,
    Policy,
    RecordTask,
    Settings,
)
from adaswitch.method.switching import AmongTopK


class Good(Policy):
    turns: int = Field(default=1, ge=1)

    async def roll_out(self, stages):
        await stages.guide()


class Silent(Policy):
    turns: int = 1


class Sync(Policy):
    def roll_out(self, stages):
        pass


class Thirsty(Policy):
    async def roll_out(self, stages, more):
        pass


class Lazy(Policy):
    async def roll_out(self, stages):
        await stages.guide(2)


class Raising(Policy):
    async def roll_out(self, stages):
        return {}["tau"]


class Wants(Policy):
    async def roll_out(self, stages):
        await stages.guide()

    @property
    def accepted_candidates(self):
        return 1000

    @property
    def hands_back(self):
        return False


class OnlyStudent(Policy):
    async def roll_out(self, stages):
        await stages.explore(FixedThreshold(1e9))

    @property
    def writers(self):
        return {"student"}


class Plain:
    """No settings class: it takes its settings by keyword."""

    def __init__(self, turns=1):
        if turns > 3:
            raise ValueError("turns must be 3 at most")
        self.turns = turns

    async def roll_out(self, stages):
        await stages.guide()


class Rule(Settings):
    tau: float = Field(default=1.0, ge=0)

    def threshold(self, earlier):
        return self.tau


@dataclass(frozen=True)
class DataRule:
    tau: float = 1.0
    limit: int = 5

    def threshold(self, earlier):
        return self.tau


class Judge(Settings):
    def accepts(self, token_ids, scores):
        return [token % 2 == 0 for token in token_ids]


class Both(Settings):
    def threshold(self, earlier):
        return 1.0

    def accepts(self, token_ids, scores):
        return []


class Neither(Settings):
    pass


class NaN(Settings):
    def threshold(self, earlier):
        return float("nan")


class Nothing(Settings):
    def threshold(self, earlier):
        return None


class Short(Settings):
    def accepts(self, token_ids, scores):
        return []


class Squared(DivergenceLoss):
    scale: float = Field(default=1.0, gt=0)

    def divergence(self, p_logprobs, q_logprobs):
        return self.scale * (p_logprobs.exp() - q_logprobs.exp()).pow(2).sum(-1)


class PlainLoss:
    def token_losses(self, batch, completion_logits):
        return batch.cross_entropy(completion_logits)


class OneNumber(PlainLoss):
    def token_losses(self, batch, completion_logits):
        return batch.cross_entropy(completion_logits).sum()


class Detached(PlainLoss):
    def token_losses(self, batch, completion_logits):
        return batch.cross_entropy(completion_logits).detach()


class Broken(PlainLoss):
    def token_losses(self, batch, completion_logits):
        return batch.no_such_thing


class NoLoss(DivergenceLoss):
    pass


class Made(GeneratedTask):
    num: int = Field(default=2, ge=1)

    def examples(self, split):
        return [Example(f"{n}+{n}=", f"#{2 * n}", n + 1, split) for n in range(self.num)]

    def mark(self, completion, example):
        return {"exact_match": completion == example.reference}


class Empty(Made):
    def examples(self, split):
        return []


class Strings(Made):
    def examples(self, split):
        return ["1+1="]


class Crashing(Made):
    def examples(self, split):
        raise OSError("no network")


class Unmarkable(Made):
    def mark(self, completion, example):
        raise KeyError("mark")


class WrongMarks(Made):
    def mark(self, completion, example):
        return {"other": 1.0}


class LargeMarks(Made):
    def mark(self, completion, example):
        return {"exact_match": 2.0}


class NoMark(GeneratedTask):
    def examples(self, split):
        return []


class NoExamples(GeneratedTask):
    def mark(self, completion, example):
        return {"exact_match": 1.0}


class NoTask:
    def mark(self, completion, example):
        return {"exact_match": 1.0}


class Records(RecordTask):
    def example(self, record, number, source):
        return Example(record["ask"], record["say"], number, source=source)

    def mark(self, completion, example):
        return {"exact_match": 1.0}


class Chats(ChatTask):
    def example(self, record, number, source):
        return Example(record["ask"], record["say"], number, source=source)

    def mark(self, completion, example):
        return {"exact_match": 1.0}


class NoChat(Records):
    @property
    def chat(self):
        return "none"


def a_function():
    return None


class Greedy(Policy):
    async def roll_out(self, stages):
        await stages.guide()
        await stages.guide()


class Helping(Policy):
    async def roll_out(self, stages):
        while not stages.ended:
            if await stages.explore(FixedThreshold(0.0)):
                await stages.guide(2)


class Recital(Policy):
    async def roll_out(self, stages):
        await stages.recite()


class LateRecital(Policy):
    async def roll_out(self, stages):
        await stages.guide(1)
        await stages.recite()


class Checking(Policy):
    tau: float = 1.0

    def check(self):
        if self.tau > 1:
            raise ValueError("tau too much")

    async def roll_out(self, stages):
        await stages.guide()


class WrongHands(Policy):
    async def roll_out(self, stages):
        await stages.guide()

    @property
    def hands_back(self):
        return {}["hands"]


class Method(Policy):
    async def roll_out(self, stages):
        await stages.guide()

    def needs_reference(self):
        return False


class WrongWriters(Policy):
    async def roll_out(self, stages):
        await stages.guide()

    @property
    def writers(self):
        return None


class Meddling(Policy):
    async def roll_out(self, stages):
        await stages.guide()
        stages.draft.token_ids.append(0)


class Misusing(Policy):
    what: str

    async def roll_out(self, stages):
        if self.what == "rule":
            await stages.explore(1.0)
        elif self.what == "metric":
            await stages.explore(FixedThreshold(1.0), "nonsense")
        elif self.what == "chunk":
            await stages.explore(FixedThreshold(1.0), chunk_size=2.5)
        else:
            await stages.guide(0)


class NoWeights(PlainLoss):
    def stage_weights(self):
        return [0, 0]


class CheckingLoss(PlainLoss):
    def check(self):
        raise ValueError("no good")


class AList(PlainLoss):
    def token_losses(self, batch, completion_logits):
        return [0.0]


class NotFinite(PlainLoss):
    def token_losses(self, batch, completion_logits):
        return batch.cross_entropy(completion_logits) * float("inf")


class InPlace(PlainLoss):
    def token_losses(self, batch, completion_logits):
        return completion_logits.exp().sub_(1.0).sum(-1)


class BrokenGradient(PlainLoss):
    def token_losses(self, batch, completion_logits):
        losses = batch.cross_entropy(completion_logits)
        losses.register_hook(lambda slope: slope.no_such_thing)
        return losses


class NoMetrics(Made):
    @property
    def metrics(self):
        return ()


class WrongTokens(Made):
    @property
    def default_new_tokens(self):
        return "x"


class NoName(Made):
    @property
    def name(self):
        raise KeyError("name")


class OldCheck(Made):
    def check(self):
        pass


class SameNumbers(Made):
    def examples(self, split):
        return [Example("1+1=", "#2", 1, split), Example("2+2=", "#4", 1, split)]


class NumberPrompt(Made):
    def examples(self, split):
        return [Example(3, "#2", 1, split)]


class Restless(Policy):
    """Explores with other rules and chunks at every turn, and has the teacher help in between."""

    async def roll_out(self, stages):
        turn = 0
        while not stages.ended:
            turn += 1
            rule = AmongTopK(2) if turn % 2 else FixedThreshold(0.05 * turn)
            if await stages.explore(rule, "jsd", turn):
                await stages.guide(turn)
