"""``adaswitch doctor --teacher``: a good teacher is found good, and each kind of a bad one by its figure."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import httpx
import numpy as np
import pytest
import torch
from rich.console import Console

from adaswitch.commands.doctor import Finding
from adaswitch.commands.teacher_doctor import NUM_DRAWS, TEMPERATURE, _judged, check_teacher, check_url
from adaswitch.config.teacher import TeacherConfig, TeacherServiceConfig
from adaswitch.contract.wire import GenerateRequest, SequenceAnswer
from adaswitch.errors import ConfigError, TeacherRejectedError, TeacherUnavailableError
from adaswitch.method.sampling import Place, draw
from adaswitch.processes.progress import ShownProgress
from services.teacher.engines.memory import logprob_bytes
from services.teacher.engines.transformers_engine import TransformersEngine
from tests.teacher_fakes import FakeEngine, fake_answer, fake_info, fake_logprobs, running_app
from tests.unit.teachers.test_openai_client import Server

CHAIN = "models/chain-teacher"
Spoil = Callable[[SequenceAnswer], SequenceAnswer]


class DrawingEngine(FakeEngine):
    """The engine of arithmetic, which draws at the temperature that it is asked for, or at ``ignores``."""

    def __init__(
        self, ignores: float | None = None, spoil: Spoil = lambda answer: answer, **limits: int
    ) -> None:
        super().__init__(fake_info(**{"max_model_len": 64, "max_request_tokens": 10_000, **limits}))
        self._ignores = ignores
        self._spoil = spoil

    async def score(self, sequences: Sequence, top_k: int) -> list[SequenceAnswer]:
        return [self._spoil(answer) for answer in await super().score(sequences, top_k)]

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        answers = []
        for prompt in request.prompts:
            tokens: list[int] = []
            for position in range(prompt.max_tokens):
                row = torch.from_numpy(fake_logprobs([*prompt.token_ids, *tokens]))[None]
                temperature = request.temperature if self._ignores is None else self._ignores
                tokens.append(int(draw(row, [Place(prompt.seed, 0, position)], temperature)))
            answers.append(fake_answer(prompt.token_ids, tokens, len(tokens), request.top_k, "length"))
        return answers


async def found(
    engine: FakeEngine | TransformersEngine,
    against: str | None = None,
    progress: ShownProgress | None = None,
    **settings: object,
) -> dict[str, Finding]:
    async with running_app(engine, **settings) as app:
        config = TeacherConfig(url="http://teacher:1", max_wait_s=1e-9)
        findings = await check_teacher(config, against, httpx.ASGITransport(app), progress)
    return {finding.name: finding for finding in findings}


async def test_a_good_teacher_is_found_good() -> None:
    findings = await found(DrawingEngine())
    assert all(finding.ok for finding in findings.values()), findings
    assert list(findings) == ["teacher", "distributions", "repeats itself", "seeds", "temperature"]


async def test_each_question_is_named_while_it_is_asked() -> None:
    out, times = io.StringIO(), count(step=11)
    with ShownProgress(Console(file=out), lambda: float(next(times))) as progress:
        await found(DrawingEngine(), progress=progress)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("checking: 0 of 5  what it serves")
    assert any("its temperature, 400 of 400 tokens" in line for line in lines)
    assert lines[-1].startswith("checking: 5 of 5")


@pytest.mark.parametrize("temperature", [1.0, 0.3])
async def test_a_temperature_that_is_ignored_is_seen(temperature: float) -> None:
    findings = await found(DrawingEngine(ignores=temperature))
    assert findings["temperature"].ok is False
    seen = float(findings["temperature"].detail.split("fall as at ")[1].split(" (")[0])
    assert seen == pytest.approx(temperature, abs=0.15)


async def test_by_chance_a_teacher_that_heeds_the_temperature_is_not_found_wrong() -> None:
    rng = np.random.default_rng(0)
    verdicts: dict[float, list[bool | None]] = {TEMPERATURE: [], 1.0: []}
    for row in np.log(rng.dirichlet(np.full(20, 0.5), 50)):
        for temperature, seen in verdicts.items():
            weights = np.exp(row / temperature)
            drawn = rng.choice(row, NUM_DRAWS, p=weights / weights.sum())
            seen.append(_judged(drawn.tolist(), row, 0.0).ok)
    assert set(verdicts[TEMPERATURE]) == {True}
    assert verdicts[1.0].count(False) > 40


@pytest.mark.parametrize(
    ("limits", "settings"),
    [
        ({}, {"max_request_sequences": 3}),
        ({"max_request_tokens": 200}, {"max_request_sequences": 30}),
        ({"max_request_logprobs": 48 * 12}, {"logprob_memory_gib": 48 * 12 * logprob_bytes(1, 0) / 2**30}),
        ({"max_model_len": 10}, {}),
    ],
)
async def test_a_good_teacher_with_low_limits_is_found_good(limits, settings) -> None:
    sequences = settings.get("max_request_sequences", 128)
    findings = await found(DrawingEngine(max_request_sequences=sequences, **limits), **settings)
    assert all(finding.ok for finding in findings.values()), findings
    assert len(findings) == 5


async def test_a_teacher_of_two_tokens_a_sequence_can_be_looked_at() -> None:
    findings = await found(DrawingEngine(max_model_len=2))
    assert all(finding.ok is not False for finding in findings.values()), findings
    assert "1 tokens" in findings["seeds"].detail


async def test_one_candidate_a_row_does_not_show_the_temperature() -> None:
    findings = await found(DrawingEngine(max_top_k=1))
    assert findings["temperature"].ok is None
    assert all(finding.ok for name, finding in findings.items() if name != "temperature"), findings


async def test_a_teacher_without_log_probabilities_is_none_to_train_on() -> None:
    findings = await found(DrawingEngine(max_top_k=0))
    assert list(findings) == ["teacher", "distributions"]
    assert findings["distributions"].ok is False
    assert "max_top_k 0" in findings["distributions"].detail


async def test_a_wrong_key_is_one_line() -> None:
    async with running_app(DrawingEngine(), api_keys=["secret"]) as app:
        with pytest.raises(TeacherRejectedError, match=r"401 .*teacher\.api_key_env") as caught:
            await check_teacher(TeacherConfig(url="http://teacher:1"), None, httpx.ASGITransport(app))
    assert "\n" not in str(caught.value)


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
