"""A group's questions to the teacher as REST requests. A request has sequences of many rollouts, within the limits."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.wire import GeneratePrompt, GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from adaswitch.errors import ModelError, TeacherProtocolError
from adaswitch.method.distribution import TopK
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Continuation
from adaswitch.method.sampling import teacher_seed
from adaswitch.teachers.request_parts import generate_parts, score_parts


class Client(Protocol):
    """The part of ``adaswitch.teachers.native.TeacherClient`` that is needed here."""

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """``POST /v1/score``."""

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """``POST /v1/generate``."""


@dataclass(frozen=True)
class TeacherRequest:
    """A request to score ``completion[start:]``, or to continue ``completion`` by up to ``num_tokens``.

    ``end_token_ids`` stop the writing, beside those that end any completion.
    """

    prompt: Prompt
    completion: tuple[int, ...]
    start: int = 0
    num_tokens: int = 0
    end_token_ids: frozenset[int] = frozenset()


class TeacherCalls:
    """Scores and generates for many rollouts at once. ``vocab_size`` is V of student and teacher."""

    def __init__(
        self,
        client: Client,
        info: ModelInfo,
        config: TeacherConfig,
        vocab_size: int,
        seed: int,
        stop_token_ids: Sequence[int],
    ) -> None:
        if info.max_top_k < 1:
            raise ModelError(
                f"the teacher {info.model!r} gives no log-probabilities (max_top_k 0): start it with more"
            )
        self._client = client
        self._info = info
        self._config = config
        self._vocab_size = vocab_size
        self._top_k = min(config.top_k, info.max_top_k, vocab_size)
        self._seed = seed
        self._stop_token_ids = list(stop_token_ids)

    async def score(self, requests: Sequence[TeacherRequest]) -> list[TopK]:
        """The distributions p_i at every position from ``start`` on, for each request.

        The last token is not sent, because no token follows it that would need a distribution.
        """
        sequences = [
            ScoreSequence(
                token_ids=[*request.prompt.token_ids, *request.completion[:-1]],
                start=len(request.prompt.token_ids) + request.start,
            )
            for request in requests
        ]
        parts = score_parts(sequences, self._top_k, self._info)
        answers = await asyncio.gather(*(self._client.score(part, self._top_k) for part in parts))
        return [self._distributions(answer) for part in answers for answer in part]

    async def generate(self, requests: Sequence[TeacherRequest]) -> list[Continuation]:
        """The teacher's continuation of each request."""
        prompts = [
            GeneratePrompt(
                token_ids=[*request.prompt.token_ids, *request.completion],
                max_tokens=request.num_tokens,
                seed=teacher_seed(self._seed, request.prompt.id, len(request.completion)),
                stop_token_ids=[*self._stop_token_ids, *sorted(request.end_token_ids)],
            )
            for request in requests
        ]
        parts = generate_parts(prompts, self._top_k, self._info)
        answers = await asyncio.gather(*(self._client.generate(self._request(part)) for part in parts))
        return [
            Continuation(answer.token_ids.tolist(), self._distributions(answer))
            for part in answers
            for answer in part
        ]

    def _request(self, prompts: list[GeneratePrompt]) -> GenerateRequest:
        return GenerateRequest(
            prompts=prompts,
            temperature=self._config.temperature,
            top_p=self._config.top_p,
            top_k=self._top_k,
        )

    def _distributions(self, answer: SequenceAnswer) -> TopK:
        if answer.top_ids.size and int(answer.top_ids.max()) >= self._vocab_size:
            raise TeacherProtocolError(
                f"the teacher gave a log-probability for id {int(answer.top_ids.max())}, which the tokenizer "
                f"of {self._vocab_size} tokens does not have"
            )
        return answer.distributions(self._vocab_size)
