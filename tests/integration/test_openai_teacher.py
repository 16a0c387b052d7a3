"""A stock vLLM server as the teacher: its numbers against transformers, and a training run against our service's."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from adaswitch.commands.teacher_doctor import check_teacher
from adaswitch.config.run import RunConfig
from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.wire import GeneratePrompt, GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from adaswitch.data.models import load_tokenizer
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import read_records
from adaswitch.teachers.native import TeacherClient
from adaswitch.teachers.openai import OpenAIClient
from bench.servers import Server, vllm_server
from experiments.local import LocalSource
from tests.teacher_models import Reference, assert_rows, assert_token_logprobs
from tests.teacher_process import TeacherProcess
from trainer.job import prepare
from trainer.loop import train

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs_vllm,
    pytest.mark.timeout(400),
]

MODEL = "models/chain-teacher"
VOCAB_SIZE = 19
K = 8
Client = TeacherClient | OpenAIClient


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    logs = tmp_path_factory.mktemp("stock")
    # vLLM's engine ends on CPU if the prompt of a request with a seed is computed in two steps.
    whole = "--no-enable-chunked-prefill"
    with vllm_server(Path(MODEL), logs, 64, whole, max_model_len=128, one_process=True) as server:
        yield server
        health = httpx.get(server.url + "/health")
        assert health.status_code == 200, "\n".join(server.process.log.read_text().splitlines()[-150:])


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(Path(MODEL), VOCAB_SIZE)


def client_of(url: str) -> OpenAIClient:
    return OpenAIClient.from_config(TeacherConfig(api="openai", url=url), load_tokenizer(MODEL))


async def test_its_scores_are_those_of_transformers(stock: Server, reference: Reference) -> None:
    rng = np.random.default_rng(0)
    sequences = [
        ScoreSequence(token_ids=rng.integers(0, VOCAB_SIZE, length).tolist(), start=start)
        for length, start in ((1, 1), (2, 1), (40, 7), (100, 100))
    ]
    client = client_of(stock.url)
    for top_k in (K, -1):
        for sequence, answer in zip(sequences, await client.score(sequences, top_k), strict=True):
            rows = reference.rows(sequence.token_ids)[sequence.start - 1 :]
            assert_rows(answer, rows)
            assert_token_logprobs(answer, rows)
    await client.aclose()


async def test_its_continuations_have_the_rows_that_they_were_drawn_from(
    stock: Server, reference: Reference
) -> None:
    prompts = [GeneratePrompt(token_ids=[1, 6, 13], max_tokens=12, seed=seed) for seed in range(4)]
    client = client_of(stock.url)
    request = GenerateRequest(prompts=prompts, top_k=K, temperature=0.8)
    answers = await client.generate(request)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert len(answer.token_ids) == 12
        rows = reference.rows([*prompt.token_ids, *answer.token_ids.tolist()])[len(prompt.token_ids) - 1 : -1]
        assert_rows(answer, rows)
        assert_token_logprobs(answer, rows)
    first = answers[0].token_ids.tolist()
    stopping = prompts[0].model_copy(update={"stop_token_ids": [first[3]]})
    (stopped,) = await client.generate(request.model_copy(update={"prompts": [stopping]}))
    assert stopped.token_ids.tolist() == first[: first.index(first[3]) + 1]
    assert stopped.finish_reason == "stop"
    await client.aclose()


async def test_the_doctor_finds_it_good(stock: Server) -> None:
    findings = await check_teacher(TeacherConfig(url=stock.url), MODEL)
    assert [finding.name for finding in findings if not finding.ok] == []
    assert "on openai" in findings[0].detail


class EachInItsLoop:
    """A client for every call: a local source rolls each step out in an event loop of its own."""

    def __init__(self, make: Callable[[], Client], info: ModelInfo) -> None:
        self._make, self._info = make, info

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        client = self._client()
        try:
            return await client.score(sequences, top_k)
        finally:
            await client.aclose()

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        client = self._client()
        try:
            return await client.generate(request)
        finally:
            await client.aclose()

    def _client(self) -> Client:
        client = self._make()
        client._info, client._model = self._info, self._info.model
        return client


async def info_of(client: Client) -> ModelInfo:
    try:
        return await client.model_info()
    finally:
        await client.aclose()


def losses(config: RunConfig, make: Callable[[], Client], info: ModelInfo) -> list[float]:
    source = LocalSource(config, EachInItsLoop(make, info), info)
    job, start = prepare(config, lambda: source, lambda: False)
    train(job, start)
    job.recorder.close()
    return [record["loss"] for record in read_records(job.run.metrics)]


def test_a_run_with_it_trains_to_the_numbers_of_our_own_service(
    stock: Server, demo_teacher: TeacherProcess, tmp_path: Path
) -> None:
    changes = {
        "trainer.num_steps": 10,
        "trainer.prompts_per_step": 8,
        "trainer.eval_every": 0,
        "runs_dir": tmp_path,
    }
    found = []
    for name, make in (
        ("stock", lambda: client_of(stock.url)),
        ("ours", lambda: TeacherClient.from_config(TeacherConfig(url=demo_teacher.url))),
    ):
        overrides = [f"{key}={value}" for key, value in {**changes, "name": name}.items()]
        config = load_config("configs/demo.yaml", overrides)
        found.append(losses(config, make, asyncio.run(info_of(make()))))
    assert len(found[0]) == 10
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)
