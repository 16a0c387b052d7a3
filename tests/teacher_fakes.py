"""A teacher engine of arithmetic, for the tests of the service and its client."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache

import httpx
import numpy as np
from fastapi import FastAPI

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.wire import GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from services.teacher.http.app import create_app
from services.teacher.http.keys import KeyRing
from tests.teacher_contract import assert_documented

VOCAB_SIZE = 11
MAX_MODEL_LEN = 16


def fake_info(**changes: object) -> ModelInfo:
    values: dict[str, object] = {
        "model": "fake",
        "backend": "fake",
        "dtype": "float32",
        "vocab_size": VOCAB_SIZE,
        "max_model_len": MAX_MODEL_LEN,
        "max_top_k": VOCAB_SIZE,
        "max_request_tokens": 64,
        "tokenizer_sha256": "0" * 64,
    }
    return ModelInfo.model_validate(values | changes)


def fake_logprobs(context: Sequence[int]) -> np.ndarray:
    """The distribution after ``context``: another one after every other context."""
    logits = np.sin(np.arange(1, VOCAB_SIZE + 1) * (1 + sum((i + 1) * t for i, t in enumerate(context))))
    return (logits - np.log(np.exp(logits).sum())).astype(np.float32)


def fake_answer(
    context: Sequence[int], token_ids: Sequence[int], num_rows: int, k: int, finish_reason: str | None = None
) -> SequenceAnswer:
    everything = [*context, *token_ids]
    rows = np.stack([fake_logprobs(everything[: len(context) + j]) for j in range(num_rows)])
    top_ids = np.argsort(-rows, axis=1, kind="stable")[:, :k].astype(np.int32)
    return SequenceAnswer(
        token_ids=np.array(token_ids, dtype=np.int32),
        token_logprobs=np.array([rows[j, t] for j, t in enumerate(token_ids)], dtype=np.float32),
        top_ids=top_ids,
        top_logprobs=np.take_along_axis(rows, top_ids, axis=1),
        finish_reason=finish_reason,
    )


class FakeEngine:
    """Answers at once, or once ``hold`` is set, or with ``error``. Counts what came and what was given up."""

    def __init__(self, info: ModelInfo | None = None) -> None:
        self.info = info or fake_info()
        self.alive = True
        self.loaded = asyncio.Event()
        self.loaded.set()
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None
        self.start_error: Exception | None = None
        self.num_entered = 0
        self.num_cancelled = 0
        self.entered = asyncio.Event()
        self.closed = False

    def why_lost(self) -> str | None:
        return None

    async def start(self) -> None:
        await self.loaded.wait()
        if self.start_error is not None:
            raise self.start_error

    async def _work(self) -> None:
        self.num_entered += 1
        self.entered.set()
        if self.error is not None:
            raise self.error
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.num_cancelled += 1
                raise

    async def score(self, sequences: Sequence[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        await self._work()
        return [
            fake_answer(s.token_ids[: s.start], s.token_ids[s.start :], len(s.token_ids) - s.start + 1, top_k)
            for s in sequences
        ]

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        await self._work()
        answers = []
        for prompt in request.prompts:
            tokens: list[int] = []
            while len(tokens) < prompt.max_tokens and not (tokens and tokens[-1] in prompt.stop_token_ids):
                tokens.append(int(fake_logprobs([*prompt.token_ids, *tokens]).argmax()))
            reason = "stop" if tokens[-1] in prompt.stop_token_ids else "length"
            answers.append(fake_answer(prompt.token_ids, tokens, len(tokens), request.top_k, reason))
        return answers

    async def close(self) -> None:
        self.closed = True

    def metrics_text(self) -> str:
        return "fake_engine_metric 1.0\n"


def service_config(**changes: object) -> TeacherServiceConfig:
    return TeacherServiceConfig.model_validate({"model": "fake", "drain_timeout_s": 0.2, **changes})


@asynccontextmanager
async def running_app(
    engine: FakeEngine, api_keys: Sequence[str] = (), settled: bool = True, **settings: object
) -> AsyncIterator[FastAPI]:
    """The app within its lifespan; ``settled`` waits until the engine has started or failed."""
    app = create_app(engine, service_config(**settings), KeyRing(api_keys))
    async with app.router.lifespan_context(app):
        if settled:
            await app.state.service.settled.wait()
        yield app


@cache
def stated_document() -> dict[str, object]:
    """The OpenAPI document of the service, which is the same for every engine and all settings."""
    return create_app(FakeEngine(), service_config(), KeyRing()).openapi()


def http_client(app: FastAPI, **options: object) -> httpx.AsyncClient:
    """Talks to ``app`` without a socket; an exception in it is its 500, as a client would see it.

    Every answer, whatever test asks for it, is held against the document that the service states itself.
    """

    async def is_documented(response: httpx.Response) -> None:
        await response.aread()
        assert_documented(stated_document(), response)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    hooks = {"response": [is_documented]}
    return httpx.AsyncClient(transport=transport, base_url="http://teacher", event_hooks=hooks, **options)


def post_scope(path: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> dict[str, object]:
    """What an ASGI server says of a ``POST`` to ``path``."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
