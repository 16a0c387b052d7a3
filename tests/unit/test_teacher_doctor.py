"""``adaswitch doctor --teacher``: a good teacher is found good, and each kind of a bad one by its figure."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch

from adaswitch.config import TeacherConfig, TeacherServiceConfig
from adaswitch.errors import ConfigError, TeacherUnavailableError
from adaswitch.io.doctor import Finding
from adaswitch.io.teacher_doctor import check_teacher, check_url
from adaswitch.sampling import draw
from adaswitch.wire import GenerateRequest, SequenceAnswer
from services.teacher.transformers_engine import TransformersEngine
from tests.teacher_fakes import FakeEngine, fake_answer, fake_info, fake_logprobs, running_app
from tests.unit.test_openai_client import Server

CHAIN = "models/chain-teacher"
Spoil = Callable[[SequenceAnswer], SequenceAnswer]


class DrawingEngine(FakeEngine):
    """The engine of arithmetic, which draws at the temperature that it is asked for, or at ``ignores``."""

    def __init__(self, ignores: float | None = None, spoil: Spoil = lambda answer: answer) -> None:
        super().__init__(fake_info(max_model_len=64, max_request_tokens=10_000))
        self._ignores = ignores
        self._spoil = spoil

    async def score(self, sequences: Sequence, top_k: int) -> list[SequenceAnswer]:
        return [self._spoil(answer) for answer in await super().score(sequences, top_k)]

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        answers = []
        for prompt in request.prompts:
            uniforms = np.random.default_rng(prompt.seed).random(prompt.max_tokens)
            tokens: list[int] = []
            for uniform in uniforms:
                row = torch.from_numpy(fake_logprobs([*prompt.token_ids, *tokens]))[None]
                temperature = request.temperature if self._ignores is None else self._ignores
                tokens.append(int(draw(row, torch.tensor([uniform]), temperature)))
            answers.append(fake_answer(prompt.token_ids, tokens, len(tokens), request.top_k, "length"))
        return answers


async def found(engine: FakeEngine | TransformersEngine, against: str | None = None) -> dict[str, Finding]:
    async with running_app(engine) as app:
        config = TeacherConfig(url="http://teacher:1", max_wait_s=1e-9)
        findings = await check_teacher(config, against, httpx.ASGITransport(app))
    return {finding.name: finding for finding in findings}


async def test_a_good_teacher_is_found_good() -> None:
    findings = await found(DrawingEngine())
    assert all(finding.ok for finding in findings.values()), findings
    assert list(findings) == ["teacher", "distributions", "repeats itself", "seeds", "temperature"]


@pytest.mark.parametrize("temperature", [1.0, 0.3])
async def test_a_temperature_that_is_ignored_is_seen(temperature: float) -> None:
    findings = await found(DrawingEngine(ignores=temperature))
    assert findings["temperature"].ok is False
    seen = float(findings["temperature"].detail.split("fall as at ")[1].split(";")[0])
    assert seen == pytest.approx(temperature, abs=0.15)


def jitter() -> Spoil:
    rng = np.random.default_rng(0)
    return lambda answer: replace(
        answer, token_logprobs=answer.token_logprobs - rng.random(1).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("spoil", "name", "words"),
    [
        (lambda a: replace(a, top_logprobs=a.top_logprobs + 0.5), "distributions", "add up to more than 1"),
        (lambda a: replace(a, top_logprobs=a.top_logprobs[:, ::-1].copy()), "distributions", "not sorted"),
        (lambda a: replace(a, top_ids=np.zeros_like(a.top_ids)), "distributions", "the same token twice"),
        (jitter(), "repeats itself", "nats apart"),
    ],
)
async def test_what_is_wrong_is_named_with_its_figure(spoil: Spoil, name: str, words: str) -> None:
    findings = await found(DrawingEngine(spoil=spoil))
    assert findings[name].ok is False
    assert words in findings[name].detail


async def test_a_served_model_against_its_own_folder_and_against_another() -> None:
    engine = TransformersEngine(TeacherServiceConfig(model=CHAIN, engine="transformers", dtype="float32"))
    findings = await found(engine, CHAIN)
    assert all(finding.ok for finding in findings.values()), findings
    assert "at most" in findings["log-probabilities"].detail
    engine = TransformersEngine(TeacherServiceConfig(model=CHAIN, engine="transformers", dtype="float32"))
    findings = await found(engine, "models/chain-student")
    assert findings["tokenizer"].ok
    assert findings["log-probabilities"].ok is False


async def test_a_vllm_server_needs_a_tokenizer_to_compare_with() -> None:
    transport = httpx.MockTransport(Server().handle)
    with pytest.raises(ConfigError, match="--against: a vLLM server does not say which tokenizer"):
        await check_teacher(TeacherConfig(url="http://big:1"), None, transport)


def test_nobody_there_is_one_line() -> None:
    with pytest.raises(TeacherUnavailableError, match=r"no teacher answers at http://127\.0\.0\.1:9"):
        check_url("http://127.0.0.1:9", None)
