"""A continuous engine over a random model, whose answers take random turns of the event loop, and delays for roles."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from adaswitch.contract.wire import GenerateRequest, ScoreSequence, SequenceAnswer
from adaswitch.method.distribution import TopK, top_k
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk, Continuation
from adaswitch.method.sampling import Place, draw
from services.student.engines.engine import WriteRequest
from tests.fakes import FakeStudent, FakeTeacher, Model


class Pace:
    """Takes up to ``most`` turns of the event loop, at random."""

    def __init__(self, seed: int, most: int) -> None:
        self._random, self._most = random.Random(seed), most

    def number(self, most: int) -> int:
        return self._random.randint(1, most)

    async def take(self) -> None:
        for _ in range(self._random.randint(0, self._most)):
            await asyncio.sleep(0)


@dataclass
class SlowStudent(FakeStudent):
    """A student that takes its time, and at times writes fewer tokens than it was asked for."""

    pace: Pace = field(default_factory=lambda: Pace(0, 0))
    keeps: int | None = None
    """The largest number of tokens in an answer, drawn anew for each; None without a limit."""
    writing: int = 0
    given_up: int = 0

    async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
        assert self.writing == 0, "one call at a time"
        self.writing += 1
        try:
            await self.pace.take()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.writing -= 1
        kept = num_tokens if self.keeps is None else min(num_tokens, self.pace.number(self.keeps))
        return await super().write(prompt, completion, kept)


@dataclass
class SlowTeacher(FakeTeacher):
    """A teacher that takes its time."""

    pace: Pace = field(default_factory=lambda: Pace(0, 0))

    async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
        await self.pace.take()
        return await super().score(prompt, completion, start)

    async def generate(
        self, prompt: Prompt, completion: Sequence[int], num_tokens: int, end_token_ids: Collection[int] = ()
    ) -> Continuation:
        await self.pace.take()
        return await super().generate(prompt, completion, num_tokens, end_token_ids)


class FakeContinuous:
    """A ``ContinuousEngine`` that insists on what the interface promises it."""

    def __init__(self, student: FakeStudent, pace: Pace) -> None:
        self._student = student
        self._pace = pace
        self._writing: Counter[int] = Counter()
        self.known: set[int] = set()
        self.present = torch.tensor(-1.0)
        self.written_with: list[tuple[int, float]] = []
        self.aborted: list[int] = []
        self.most_known = 0
        self.closed = False
        self.error: Exception | None = None

    async def write(self, request: WriteRequest) -> Chunk:
        prompt, version = request.prompt, float(self.present)
        assert not self._writing[prompt.id], "one call at a time for each prompt"
        self._writing[prompt.id] += 1
        self.known.add(prompt.id)
        self.most_known = max(self.most_known, len(self.known))
        try:
            await self._pace.take()
            if self.error is not None:
                raise self.error
            chunk = await self._student.write(prompt, request.completion, request.num_tokens)
        except asyncio.CancelledError:
            self.aborted.append(prompt.id)
            raise
        finally:
            self._writing[prompt.id] -= 1
        assert version == float(self.present), "weights changed while a prompt was being written"
        self.written_with.append((prompt.id, version))
        return chunk

    def forget(self, prompt_ids: Sequence[int]) -> None:
        assert not any(self._writing[prompt_id] for prompt_id in prompt_ids)
        self.known -= set(prompt_ids)

    def weights(self) -> Mapping[str, Tensor]:
        return {"w": self.present}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        assert not self.known, "weights may change only while no prompt is under way"
        self.present = weights["w"]

    def close(self) -> None:
        assert not self.known
        self.closed = True


class ModelClient:
    """A teacher's REST client over a random model. Requests take random turns of the event loop."""

    def __init__(self, model: Model, vocab_size: int, pace: Pace) -> None:
        self._model, self._vocab_size, self._pace = model, vocab_size, pace
        self.requests: list[int] = []
        """The number of sequences in each request."""
        self.under_way = 0
        self.given_up = 0
        self.error: Exception | None = None

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        await self._answering(len(sequences))
        return [self._answer(s.token_ids, range(s.start, len(s.token_ids) + 1), top_k) for s in sequences]

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        await self._answering(len(request.prompts))
        answers = []
        for prompt in request.prompts:
            token_ids = list(prompt.token_ids)
            while len(token_ids) < len(prompt.token_ids) + prompt.max_tokens:
                place = Place(prompt.seed, 0, len(token_ids) - len(prompt.token_ids))
                token_ids.append(int(draw(self._model(token_ids)[None], [place])))
                if token_ids[len(token_ids) - 1] in prompt.stop_token_ids:
                    break
            answers.append(
                self._answer(token_ids, range(len(prompt.token_ids), len(token_ids)), request.top_k)
            )
        return answers

    async def _answering(self, num_sequences: int) -> None:
        self.requests.append(num_sequences)
        self.under_way += 1
        try:
            await self._pace.take()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.under_way -= 1
        if self.error is not None:
            raise self.error

    def _answer(self, token_ids: list[int], places: range, k: int) -> SequenceAnswer:
        """The rows after the first so many of ``token_ids``, and the tokens at these places."""
        rows = top_k(torch.stack([self._model(token_ids[:place]) for place in places]), k)
        tokens = np.array(token_ids[places.start : places.stop], np.int32)
        return SequenceAnswer(
            tokens,
            np.zeros(len(tokens), np.float32),
            rows.ids.int().numpy(),
            rows.logprobs.numpy(),
            finish_reason=None,
        )
