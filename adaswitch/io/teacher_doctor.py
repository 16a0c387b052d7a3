"""``adaswitch doctor --teacher URL``: is this teacher what it says? Each finding with its figure.

Everything is asked over the network, as a student would. With a local copy of the model (``--against``) its
log-probabilities are compared with a plain forward pass.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from adaswitch.config import TeacherConfig
from adaswitch.errors import ConfigError, NonFiniteError, TeacherProtocolError
from adaswitch.fingerprint import tokenizer_sha256
from adaswitch.io.doctor import Finding, Verdict
from adaswitch.io.models import load_tokenizer
from adaswitch.io.openai_client import OpenAIClient
from adaswitch.io.teacher_client import TeacherClient
from adaswitch.wire import GeneratePrompt, GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer

NUM_TOKENS = 48
"""Of a sequence that is scored."""
NUM_SEQUENCES = 4
NUM_DRAWS = 400
TEMPERATURE = 0.7
"""At which tokens are drawn to see whether it is heeded."""
TEMPERATURE_TOLERANCE = 0.15
DRAWS_AT_ONCE = 100
TOP_K = 20
CLOSE = {"float32": 1e-3, "unknown": 0.2}
"""Nats; rounding in half precision may be as large as for an unknown type."""
Reference = Callable[[Sequence[int]], NDArray[np.float32]]
"""A sequence to the log-probabilities ``[n, V]`` after each of its tokens."""


TEACHER = Verdict("A teacher to train on.", "Not a teacher to train on", "wrong")
UNFIT = "not a teacher to train on: look at its version"
WAIT_S = 5.0
"""For a teacher that is busy."""


def check_url(url: str, against: str | None) -> list[Finding]:
    """``check_teacher`` of the one at ``url``."""
    return asyncio.run(check_teacher(TeacherConfig(url=url, max_wait_s=WAIT_S), against))


async def check_teacher(
    config: TeacherConfig, against: str | None, transport: httpx.AsyncBaseTransport | None = None
) -> list[Finding]:
    """The findings. ``against`` is a folder with the same model. Raises ``AdaSwitchError`` where nobody answers."""
    tokenizer = load_tokenizer(against, "--against") if against is not None else None
    client = await _client(config, tokenizer, transport)
    try:
        return await _findings(client, tokenizer, against)
    finally:
        await client.aclose()


async def _client(
    config: TeacherConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    transport: httpx.AsyncBaseTransport | None,
) -> TeacherClient | OpenAIClient:
    """Of our service if it is one, else of a vLLM server."""
    native = TeacherClient.from_config(config, transport)
    try:
        await native.wait_until_ready(0.0, lambda line: None)
    except TeacherProtocolError:
        await native.aclose()
    else:
        return native
    if tokenizer is None:
        raise ConfigError(
            "--against: a vLLM server does not say which tokenizer it has; name a folder that holds the model "
            "or at least its tokenizer"
        )
    return OpenAIClient.from_config(config.model_copy(update={"api": "openai"}), tokenizer, transport)


async def _findings(
    client: TeacherClient | OpenAIClient, tokenizer: PreTrainedTokenizerBase | None, against: str | None
) -> list[Finding]:
    began_s = time.perf_counter()
    info = await client.model_info()
    said = f"{info.model} on {info.backend}, {info.dtype}, up to {info.max_model_len} tokens"
    findings = [Finding("teacher", True, f"{said}; answered after {time.perf_counter() - began_s:.3f} s")]
    if tokenizer is not None:
        findings.append(_tokenizer(info, tokenizer))
    sequences = _sequences(info)
    top_k = min(TOP_K, info.max_top_k)
    try:
        answers = await client.score(sequences, top_k)
    except (TeacherProtocolError, NonFiniteError) as error:
        return [*findings, Finding("distributions", False, str(error), UNFIT)]
    findings.append(_distributions(answers))
    findings.append(_repeated(answers, await client.score(sequences, top_k), info))
    if against is not None and findings[1].ok:
        findings.append(_compared(sequences, answers, reference_rows(against, info.vocab_size), info))
    findings.append(await _drawn_again(client, sequences[0], top_k))
    findings.append(await _temperature(client, *_most_uncertain(sequences, answers)))
    return findings


def _sequences(info: ModelInfo) -> list[ScoreSequence]:
    rng = np.random.default_rng(0)
    length = min(NUM_TOKENS, info.max_model_len - 2)
    return [
        ScoreSequence(token_ids=rng.integers(0, info.vocab_size, length).tolist(), start=1)
        for _ in range(NUM_SEQUENCES)
    ]


def _tokenizer(info: ModelInfo, tokenizer: PreTrainedTokenizerBase) -> Finding:
    vocabulary = tokenizer.get_vocab()
    if info.tokenizer_sha256 == tokenizer_sha256(vocabulary):
        return Finding("tokenizer", True, f"the same {len(vocabulary)} tokens")
    return Finding(
        "tokenizer",
        False,
        f"another one: {info.vocab_size} tokens there, {len(vocabulary)} here",
        "take a pair of one model family",
    )


def _distributions(answers: Sequence[SequenceAnswer]) -> Finding:
    """What the client lets pass: whole, finite, distinct ids, sums of at most 1."""
    rows = np.concatenate([answer.top_logprobs for answer in answers]).astype(np.float64)
    num_unsorted = int((np.diff(rows, axis=-1) > 0).any(-1).sum())
    detail = f"{len(rows)} rows of {rows.shape[1]}: the largest sum {np.exp(rows).sum(-1).max():.6f}, "
    detail += f"{num_unsorted} not sorted"
    return Finding("distributions", not num_unsorted, detail, UNFIT if num_unsorted else "")


def _repeated(first: Sequence[SequenceAnswer], second: Sequence[SequenceAnswer], info: ModelInfo) -> Finding:
    largest = max(
        float(np.abs(one.token_logprobs - other.token_logprobs).max())
        for one, other in zip(first, second, strict=True)
    )
    good = largest <= _close(info)
    detail = f"the same request twice: at most {largest:.2g} nats apart"
    return Finding(
        "repeats itself", good, detail, "" if good else "look for another model behind the same address"
    )


def _close(info: ModelInfo) -> float:
    return CLOSE.get(info.dtype, CLOSE["unknown"])


def reference_rows(folder: str, vocab_size: int) -> Reference:
    """What a plain forward pass in float32 says of the model in ``folder``. Raises ``ModelError``."""
    import torch
    from transformers import AutoModelForCausalLM

    from adaswitch.io.models import load

    model: Any = load(AutoModelForCausalLM.from_pretrained, folder, "--against", dtype=torch.float32)
    model.eval()

    @torch.inference_mode()
    def rows(token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Of the model above."""
        logits = model(torch.tensor([list(token_ids)])).logits[0, :, :vocab_size]
        found: NDArray[np.float32] = logits.float().log_softmax(-1).numpy()
        return found

    return rows


def _compared(
    sequences: Sequence[ScoreSequence],
    answers: Sequence[SequenceAnswer],
    reference: Reference,
    info: ModelInfo,
) -> Finding:
    differences = []
    for sequence, answer in zip(sequences, answers, strict=True):
        rows = reference(sequence.token_ids)
        differences.append(
            np.abs(np.take_along_axis(rows, answer.top_ids.astype(np.int64), axis=1) - answer.top_logprobs)
        )
    every = np.concatenate(differences)
    detail = f"against the local copy in float32: mean {every.mean():.2g}, at most {every.max():.2g} nats"
    good = float(every.max()) <= _close(info)
    return Finding(
        "log-probabilities", good, detail, "" if good else "it serves other weights, or scales its logits"
    )


async def _drawn_again(client: TeacherClient | OpenAIClient, sequence: ScoreSequence, top_k: int) -> Finding:
    prompt = GeneratePrompt(token_ids=sequence.token_ids[:8], max_tokens=16, seed=1)
    request = GenerateRequest(prompts=[prompt], top_k=top_k)
    (one,), (other,) = [await client.generate(request) for _ in range(2)]
    same = one.token_ids.tolist() == other.token_ids.tolist()
    detail = f"the same seed twice: {len(one.token_ids)} tokens, {'the same' if same else 'others'}"
    return Finding("seeds", True if same else None, detail, "" if same else "runs will not repeat exactly")


async def _temperature(
    client: TeacherClient | OpenAIClient, context: list[int], row: NDArray[np.float64], ids: list[int]
) -> Finding:
    """Tokens drawn at ``TEMPERATURE`` after ``context``, whose candidates ``ids`` have log-probabilities ``row``."""
    prompts = [GeneratePrompt(token_ids=context, max_tokens=1, seed=seed) for seed in range(NUM_DRAWS)]
    requests = [
        GenerateRequest(prompts=prompts[i : i + DRAWS_AT_ONCE], top_k=len(ids), temperature=TEMPERATURE)
        for i in range(0, NUM_DRAWS, DRAWS_AT_ONCE)
    ]
    answers = [answer for part in await asyncio.gather(*map(client.generate, requests)) for answer in part]
    place = {token: i for i, token in enumerate(ids)}
    drawn = [row[place[int(a.token_ids[0])]] for a in answers if int(a.token_ids[0]) in place]
    shift = float(np.abs(answers[0].top_logprobs[0] - row).max())
    found = _best_temperature(float(np.mean(drawn)), row) if drawn else float("nan")
    good = abs(found - TEMPERATURE) <= TEMPERATURE_TOLERANCE and shift < CLOSE["unknown"]
    detail = f"{NUM_DRAWS} tokens asked at {TEMPERATURE} fall as at {found:.2f}; their log-probabilities are within "
    detail += f"{shift:.2g} nats of those at 1"
    return Finding(
        "temperature", good, detail, "" if good else "it is ignored or scales log-probabilities too"
    )


def _best_temperature(mean: float, row: NDArray[np.float64]) -> float:
    """At which tokens drawn from the candidates have this mean of their log-probabilities (at temperature 1)."""
    temperatures = np.arange(0.1, 3.0, 0.01)
    weights = np.exp((row[None] - row.max()) / temperatures[:, None])
    means = (weights * row).sum(-1) / weights.sum(-1)
    return float(temperatures[int(np.argmin(np.abs(means - mean)))])


def _most_uncertain(
    sequences: Sequence[ScoreSequence], answers: Sequence[SequenceAnswer]
) -> tuple[list[int], NDArray[np.float64], list[int]]:
    """The context after which the candidates are least alike to a certainty, with their log-probabilities and ids."""
    places = [(n, j) for n, answer in enumerate(answers) for j in range(len(answer.top_ids))]
    spread = [float(answers[n].top_logprobs[j].astype(np.float64).std()) for n, j in places]
    # Where all are equally likely a temperature changes nothing: the middle of the field is wanted.
    n, j = places[int(np.argsort(spread)[len(spread) // 2])]
    return (
        sequences[n].token_ids[: j + 1],
        answers[n].top_logprobs[j].astype(np.float64),
        answers[n].top_ids[j].tolist(),
    )
