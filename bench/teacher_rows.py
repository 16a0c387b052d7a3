"""Measures the rows of ``bench.teacher``, with one function for each kind of row."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import torch

from adaswitch.config.teacher import TeacherConfig, TeacherServiceConfig
from adaswitch.contract.wire import GeneratePrompt, GenerateRequest, ScoreSequence, answers_to_safetensors
from adaswitch.teachers.native import TeacherClient
from bench.models import SMALL, Shape, make_model
from bench.rounds import Row, Work, compare
from bench.servers import Server, our_service, say, vllm_server
from services.teacher.engines.vllm.engine import VLLMEngine

K = 64
LENGTH = 256
PREFIX, CHUNK = 900, 64
NUM_GENERATED = 64
CPU_TOKENS = 4096
"""Number of scored tokens in each request that the API's CPU seconds are measured on."""
Draw = Callable[[int, int], list[list[int]]]


async def measure(name: str, shape: Shape, folder: Path) -> None:
    """Measure and print all rows with one model."""
    model = make_model(folder / name, shape)
    label = f"V = {shape.vocab_size:,}"
    say(f"{label}: our service ...")
    with our_service(model, folder, "--no-access-log") as ours:
        async with _client(ours, "float32") as client:
            num_sequences, target = (16, 7.0) if shape is SMALL else (8, 2.0)
            say(f"{label}: vLLM's server ...")
            with vllm_server(model, folder, K) as peer:
                print(
                    (await against_openai(label, client, peer, shape, num_sequences, target)).line(),
                    flush=True,
                )
            for row in [
                await bytes_a_token(label, client, shape),
                *await next_chunk(label, client, shape),
                await with_logprobs(label, client, shape),
                await api_cpu(label, client, ours, shape),
            ]:
                print(row.line(), flush=True)
            say(f"{label}: the engine in this process ...")
            print((await against_engine(label, client, model, shape, num_sequences)).line(), flush=True)


class BareEngine(VLLMEngine):
    """vLLM's ``AsyncLLM`` with our settings, but without our service around it."""

    def _prepare_outputs(self) -> None:
        """Do nothing, so that log-probabilities stay in lists, as vLLM hands them to everybody."""

    async def ask(self, token_ids: list[int]) -> None:
        """Ask for the log-probabilities of ``token_ids``, and take them as vLLM hands them out."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            logprobs=K,
            prompt_logprobs=K,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        await self._final_output(token_ids, params)


@asynccontextmanager
async def _client(server: Server, logprobs: str) -> AsyncIterator[TeacherClient]:
    config = TeacherConfig.model_validate({"url": server.url, "logprobs": logprobs})
    client = TeacherClient.from_config(config)
    try:
        yield client
    finally:
        await client.aclose()


def _draw(shape: Shape) -> Draw:
    rng = np.random.default_rng(0)
    return lambda num, length: rng.integers(3, shape.vocab_size, (num, length)).tolist()


def _scored(sequences: Sequence[list[int]], start: int = 1) -> list[ScoreSequence]:
    return [ScoreSequence(token_ids=ids, start=start) for ids in sequences]


def _ours(client: TeacherClient, sequences: list[list[int]], vocab_size: int) -> Work:
    async def work() -> None:
        for answer in await client.score(_scored(sequences), K):
            answer.distributions(vocab_size)

    return work


async def against_openai(
    label: str, client: TeacherClient, peer: Server, shape: Shape, num_sequences: int, target: float
) -> Row:
    """Score the same tokens with vLLM's server (``prompt_logprobs``), reading its JSON into the same tensors."""
    sequences = _draw(shape)(num_sequences, LENGTH)
    body = {
        "model": (await _served_name(peer)),
        "prompt": sequences,
        "max_tokens": 1,
        "prompt_logprobs": K,
        "logprobs": K,
    }
    body |= {"temperature": 0.0, "return_tokens_as_token_ids": True}
    async with httpx.AsyncClient(base_url=peer.url, timeout=300.0) as http:

        async def theirs() -> None:
            document = (await http.post("/v1/completions", json=body)).raise_for_status().json()
            for choice in document["choices"]:
                for row in choice["prompt_logprobs"][1:]:
                    torch.tensor([int(token) for token in row])
                    torch.tensor([entry["logprob"] for entry in row.values()])

        name = f"score {num_sequences} x {LENGTH} tokens, k = {K}, {label}: against vLLM's server"
        return await compare(
            name, _ours(client, sequences, shape.vocab_size), theirs, num_sequences * LENGTH, target
        )


async def _served_name(peer: Server) -> str:
    async with httpx.AsyncClient() as http:
        name: str = (await http.get(f"{peer.url}/v1/models")).json()["data"][0]["id"]
        return name


async def against_engine(
    label: str, client: TeacherClient, model: Path, shape: Shape, num_sequences: int
) -> Row:
    """Ask the same engine for the same log-probabilities, but from this process and without HTTP."""
    sequences = _draw(shape)(num_sequences, LENGTH)
    config = TeacherServiceConfig(model=str(model), max_model_len=1024)
    engine = BareEngine(config)
    await engine.start()
    try:

        async def theirs() -> None:
            await asyncio.gather(*map(engine.ask, sequences))

        name = f"score {num_sequences} x {LENGTH} tokens, k = {K}, {label}: against the engine in one process"
        return await compare(
            name, _ours(client, sequences, shape.vocab_size), theirs, num_sequences * LENGTH, 0.95
        )
    finally:
        await engine.close()


async def bytes_a_token(label: str, client: TeacherClient, shape: Shape) -> Row:
    """Bytes on the wire for each scored token, in half precision; the peer is full precision."""
    answers = await client.score(_scored(_draw(shape)(8, LENGTH)), K)
    num_tokens = sum(len(answer.token_ids) + 1 for answer in answers)
    half, full = (
        len(answers_to_safetensors(answers, dtype)) / num_tokens for dtype in ("float16", "float32")
    )
    return Row(
        f"bytes a token, k = {K}, {label}: float16 (peer: float32)",
        half,
        full,
        "bytes",
        half,
        400.0,
        at_least=False,
    )


async def next_chunk(label: str, client: TeacherClient, shape: Shape) -> list[Row]:
    """Score a chunk after a prefix that is cached.

    One row compares this with scoring prefix and chunk without the cache, the other row with scoring only the chunk's
    rows without the cache.
    """
    draw = _draw(shape)
    known: list[list[int]] = []

    async def prepare() -> None:
        known[:] = draw(1, PREFIX + CHUNK)
        await client.score(_scored([known[0][:PREFIX]], PREFIX - 1), K)

    async def chunk() -> None:
        await client.score(_scored(known, PREFIX), K)

    def afresh(start: int) -> Work:
        async def work() -> None:
            await client.score(_scored(draw(1, PREFIX + CHUNK), start), K)

        return work

    target = 3.0 if shape is SMALL else 5.0
    name = f"score {CHUNK} tokens behind {PREFIX} that are cached, {label}: against"
    return [
        await compare(f"{name} scoring all afresh", chunk, afresh(1), CHUNK, target, before=prepare),
        await compare(f"{name} the same rows afresh", chunk, afresh(PREFIX), CHUNK, 1.0, before=prepare),
    ]


async def with_logprobs(label: str, client: TeacherClient, shape: Shape) -> Row:
    """Compare generating with log-probabilities to generating without them."""
    prompts = [
        GeneratePrompt(token_ids=ids, max_tokens=NUM_GENERATED, seed=seed)
        for seed, ids in enumerate(_draw(shape)(8, 32))
    ]

    def generating(k: int) -> Work:
        async def work() -> None:
            await client.generate(GenerateRequest(prompts=prompts, top_k=k))

        return work

    target = 0.7 if shape is SMALL else 0.85
    name = f"generate {len(prompts)} x {NUM_GENERATED} tokens, {label}: k = {K} against k = 0"
    return await compare(name, generating(K), generating(0), len(prompts) * NUM_GENERATED, target)


async def api_cpu(label: str, client: TeacherClient, server: Server, shape: Shape) -> Row:
    """CPU seconds of the API's process, without those of the engine's process."""
    num_requests, num_sequences = 10, CPU_TOKENS // LENGTH
    sequences = _scored(_draw(shape)(num_sequences, LENGTH))
    before_s = server.api_cpu_s()
    for _ in range(num_requests):
        await client.score(sequences, K)
    spent_s = (server.api_cpu_s() - before_s) / num_requests
    name = f"CPU seconds of the API's process a {CPU_TOKENS:,} scored tokens, {label}"
    return Row(name, spent_s, None, "s", spent_s, 0.08, at_least=False, rounds=num_requests)
