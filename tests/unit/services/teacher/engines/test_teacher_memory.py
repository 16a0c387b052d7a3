"""What the service sets aside for a request's log-probabilities is what they take at most, from vLLM to the client.

vLLM's own lists are made up here as it makes them: Python numbers, candidate by candidate.
"""

import asyncio
import itertools
import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from fastapi import FastAPI

from adaswitch.contract.wire import JSON_TYPE, SAFETENSORS_TYPE, ScoreSequence, SequenceAnswer
from services.teacher.engines.vllm.rows import scored_answer
from tests.teacher_fakes import FakeEngine, fake_info, post_scope, running_app

VOCAB_SIZE = 150_000
RESERVED = "adaswitch_teacher_logprob_bytes_in_flight "


@dataclass
class Flat:
    """vLLM's ``FlatLogprobs``."""

    start_indices: list[int] = field(default_factory=list)
    end_indices: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    decoded_tokens: list[str | None] = field(default_factory=list)

    def append(self, token_id: int, k: int, rng: np.random.Generator) -> None:
        """A position's token, and ``k`` candidates."""
        candidates = [token_id, *rng.integers(1000, VOCAB_SIZE, k).tolist()]
        logprobs = (-rng.exponential(5.0, k + 1)).astype(np.float32).tolist()
        ranks = itertools.chain((int(rng.integers(1000, VOCAB_SIZE)),), range(1, k + 1))
        self.start_indices.append(len(self.logprobs))
        for candidate, logprob, rank in zip(candidates, logprobs, ranks, strict=True):
            self.token_ids.append(candidate)
            self.logprobs.append(logprob)
            self.ranks.append(rank)
            self.decoded_tokens.append(None)
        self.end_indices.append(len(self.logprobs))


class VLLMLikeEngine(FakeEngine):
    """Scores as vLLM's engine does where all sequences of a request are done at once.

    Memory is measured from its work on. ``num_reserved`` is how many bytes the service had set aside by then.
    """

    def __init__(self) -> None:
        super().__init__(
            fake_info(
                vocab_size=VOCAB_SIZE, max_top_k=VOCAB_SIZE, max_model_len=10_000, max_request_tokens=100_000
            )
        )
        self.app: FastAPI | None = None
        self.num_reserved = 0

    async def score(self, sequences: Sequence[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        if self.app is None:
            return await super().score(sequences, 0)
        text = self.app.state.service.metrics.text()
        (line,) = (line for line in text.splitlines() if line.startswith(RESERVED))
        self.num_reserved = int(float(line.removeprefix(RESERVED)))
        rng = np.random.default_rng(0)
        tracemalloc.start()
        found = [self._flat(sequence, top_k, rng) for sequence in sequences]
        return [scored_answer(sequence, *found.pop(0), top_k) for sequence in sequences]

    def _flat(self, sequence: ScoreSequence, k: int, rng: np.random.Generator) -> tuple[Flat, Flat]:
        prompt, sampled = Flat(), Flat()
        for token_id in sequence.token_ids[sequence.start :]:
            prompt.append(token_id, k, rng)
        sampled.append(int(rng.integers(VOCAB_SIZE)), k, rng)
        return prompt, sampled


async def send_to_nobody(app: FastAPI, body: bytes, accepted: str) -> int:
    """The status of ``POST /v1/score``, from a client that keeps nothing of the answer."""
    headers = [(b"content-type", JSON_TYPE.encode()), (b"accept", accepted.encode())]
    unread = iter([{"type": "http.request", "body": body, "more_body": False}])
    here = asyncio.Event()
    status = 0

    async def receive() -> dict[str, object]:
        for message in unread:
            return message
        await here.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(post_scope("/v1/score", headers), receive, send)
    return status


@pytest.mark.parametrize("accepted", [JSON_TYPE, SAFETENSORS_TYPE])
@pytest.mark.parametrize("top_k", [0, 1, 20, 500])
async def test_log_probabilities_take_no_more_than_is_set_aside_for_them(top_k: int, accepted: str) -> None:
    engine = VLLMLikeEngine()
    length = max(20, 5_000 // (top_k + 1))
    token_ids = np.random.default_rng(1).integers(1000, VOCAB_SIZE, length).tolist()
    body = json.dumps({"sequences": [{"token_ids": token_ids, "start": 1}] * 4, "top_k": top_k}).encode()
    async with running_app(engine, max_request_tokens=10**5) as app:
        engine.app = app
        try:
            assert await send_to_nobody(app, body, accepted) == 200
            _, num_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert engine.num_reserved >= 4 * length * (top_k + 1)
    assert num_bytes < engine.num_reserved, f"{num_bytes / (4 * length * (top_k + 1)):.0f} bytes each"
