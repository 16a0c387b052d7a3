"""``adaswitch doctor --teacher URL``: checks whether a teacher is what it says. Each finding comes with its figure.

All questions go over the network, as a student's would. With a local copy of the model (``--against``), the teacher's
log-probabilities are compared with those of a plain forward pass.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from adaswitch.commands.doctor import Finding, Verdict
from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.contract.wire import GeneratePrompt, GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from adaswitch.data.model_config import read_model_config
from adaswitch.data.models import load_tokenizer
from adaswitch.data.vocabulary import vocabulary_of
from adaswitch.errors import ConfigError, NonFiniteError, TeacherProtocolError
from adaswitch.processes.progress import ShownProgress
from adaswitch.teachers.connections import Transport
from adaswitch.teachers.native import TeacherClient
from adaswitch.teachers.openai import OpenAIClient
from adaswitch.teachers.request_parts import generate_parts, score_parts

NUM_TOKENS = 48
"""Tokens of each sequence that is scored."""
NUM_SEQUENCES = 4
NUM_DRAWS = 400
NUM_STAGES = 5
"""The number of questions, without the comparison with a local copy."""
TEMPERATURE = 0.7
"""The temperature at which tokens are drawn, to see whether the teacher heeds a temperature."""
MAX_ERRORS = 4.0
"""If the mean of the drawn tokens is off by more than this many standard errors, that is not by chance."""
TOP_K = 20
CLOSE = {"float32": 1e-3, "unknown": 0.2}
"""The largest difference that counts as rounding, in nats, by number type. Half precision counts as ``unknown``."""
Reference = Callable[[Sequence[int]], NDArray[np.float32]]
"""Maps a sequence to the log-probabilities ``[n, V]`` after each of its n tokens."""


TEACHER = Verdict("A teacher to train on.", "Not a teacher to train on", "wrong")
UNFIT = "not a teacher to train on: look at its version"
WAIT_S = 5.0
"""How many seconds a busy teacher is waited for."""


def check_url(url: str, against: str | None, progress: ShownProgress | None = None) -> list[Finding]:
    """Run ``check_teacher`` on the teacher at ``url``."""
    return asyncio.run(check_teacher(TeacherConfig(url=url, max_wait_s=WAIT_S), against, progress=progress))


async def check_teacher(
    config: TeacherConfig,
    against: str | None,
    transport: Transport | None = None,
    progress: ShownProgress | None = None,
) -> list[Finding]:
    """The findings. ``against`` is a folder with the teacher's model. Raises ``AdaSwitchError`` if nobody answers.

    ``progress`` shows how far the questions are.
    """
    tokenizer = load_tokenizer(against, "--against") if against is not None else None
    client = await _client(config, tokenizer, against, transport)
    try:
        return await _findings(client, tokenizer, against, progress)
    finally:
        await client.aclose()


async def _client(
    config: TeacherConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    against: str | None,
    transport: Transport | None,
) -> TeacherClient | OpenAIClient:
    """The client for our service if the teacher is one, else the client for a vLLM server."""
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
    assert against is not None  # a tokenizer comes from there
    num_rows = read_model_config(against, "--against").num_rows
    vocab_size = vocabulary_of(tokenizer, num_rows, "--against").size
    served = config.model_copy(update={"api": "openai"})
    return OpenAIClient.from_config(served, tokenizer, transport, vocab_size=vocab_size)


class _Stages:
    """Tells ``progress`` which question is being asked, one after the other."""

    def __init__(self, progress: ShownProgress | None, number: int) -> None:
        self._part = None if progress is None else progress.part("checking", number)
        self._has_begun = False

    def next(self, words: str) -> None:
        """The question before is answered, and the one of ``words`` comes next."""
        if self._part is not None:
            self._part.advance(int(self._has_begun), words)
        self._has_begun = True

    def note(self, words: str) -> None:
        """How far the question is."""
        if self._part is not None:
            self._part.advance(0, words)

    def end(self) -> None:
        """The last question is answered."""
        self.next("")


async def _findings(
    client: TeacherClient | OpenAIClient,
    tokenizer: PreTrainedTokenizerBase | None,
    against: str | None,
    progress: ShownProgress | None,
) -> list[Finding]:
    stages = _Stages(progress, NUM_STAGES + (against is not None))
    stages.next("what it serves")
    began_s = time.perf_counter()
    info = await client.model_info()
    said = f"{info.model} on {info.backend}, {info.dtype}, up to {info.max_model_len} tokens"
    findings = [Finding("teacher", True, f"{said}; answered after {time.perf_counter() - began_s:.3f} s")]
    if tokenizer is not None:
        findings.append(_tokenizer(info, tokenizer))
    if info.max_top_k < 1:
        fix = "start it with a larger --max-top-k"
        return [*findings, Finding("distributions", False, "it gives none (max_top_k 0)", fix)]
    sequences = _sequences(info)
    top_k = min(TOP_K, info.max_top_k)
    stages.next("its distributions")
    try:
        answers = await _scored(client, sequences, top_k, info)
    except (TeacherProtocolError, NonFiniteError) as error:
        return [*findings, Finding("distributions", False, str(error), UNFIT)]
    findings.append(_distributions(answers))
    stages.next("the same request again")
    findings.append(_repeated(answers, await _scored(client, sequences, top_k, info), info))
    if against is not None and findings[1].ok:
        stages.next("the local copy")
        findings.append(_compared(sequences, answers, reference_rows(against, info.vocab_size), info))
    stages.next("the same seed twice")
    findings.append(await _drawn_again(client, sequences[0], top_k, info))
    stages.next("its temperature")
    findings.append(await _temperature(client, *_most_telling(sequences, answers), info, stages.note))
    stages.end()
    return findings


def _room(info: ModelInfo) -> int:
    """The most tokens that a sequence may have, including those that are still to be written."""
    return min(info.max_model_len, info.max_request_tokens)


def _sequences(info: ModelInfo) -> list[ScoreSequence]:
    rng = np.random.default_rng(0)
    # One more token has to fit after the sequence.
    length = max(1, min(NUM_TOKENS, _room(info) - 1))
    return [
        ScoreSequence(token_ids=rng.integers(0, info.vocab_size, length).tolist(), start=1)
        for _ in range(NUM_SEQUENCES)
    ]


async def _scored(
    client: TeacherClient | OpenAIClient, sequences: Sequence[ScoreSequence], top_k: int, info: ModelInfo
) -> list[SequenceAnswer]:
    """Score in requests within the service's limits, one after the other: all at once might be too many."""
    return [
        answer for part in score_parts(sequences, top_k, info) for answer in await client.score(part, top_k)
    ]


def _tokenizer(info: ModelInfo, tokenizer: PreTrainedTokenizerBase) -> Finding:
    vocabulary = tokenizer.get_vocab()
    if info.tokenizer_sha256 == tokenizer_sha256(vocabulary):
        return Finding("tokenizer", True, f"the same {len(vocabulary)} tokens")
    return Finding(
        "tokenizer",
        False,
        f"another one: {info.vocab_size} tokens there, {max(vocabulary.values()) + 1} here",
        "take a pair of one model family",
    )


def _distributions(answers: Sequence[SequenceAnswer]) -> Finding:
    """The finding on rows that the client has checked: complete, finite, falling, distinct ids, sums of at most 1."""
    rows = np.concatenate([answer.top_logprobs for answer in answers]).astype(np.float64)
    detail = f"{len(rows)} rows of {rows.shape[1]}: the largest sum {np.exp(rows).sum(-1).max():.6f}"
    return Finding("distributions", True, detail)


def _repeated(first: Sequence[SequenceAnswer], second: Sequence[SequenceAnswer], info: ModelInfo) -> Finding:
    largest = float(np.abs(_all_logprobs(first) - _all_logprobs(second)).max())
    good = largest <= _close(info)
    detail = f"the same request twice: at most {largest:.2g} nats apart"
    return Finding(
        "repeats itself", good, detail, "" if good else "look for another model behind the same address"
    )


def _all_logprobs(answers: Sequence[SequenceAnswer]) -> NDArray[np.float32]:
    """The log-probabilities of tokens and of rows. A sequence of one token has only rows."""
    return np.concatenate([part.ravel() for a in answers for part in (a.token_logprobs, a.top_logprobs)])


def _close(info: ModelInfo) -> float:
    return CLOSE.get(info.dtype, CLOSE["unknown"])


def reference_rows(folder: str, vocab_size: int) -> Reference:
    """The log-probabilities of the model in ``folder``, by a plain forward pass in float32. Raises ``ModelError``."""
    import torch

    from adaswitch.data.causal_lm import load_model

    model: Any = load_model(folder, "--against", "float32")

    @torch.inference_mode()
    def rows(token_ids: Sequence[int]) -> NDArray[np.float32]:
        """The log-probabilities ``[n, V]`` after each of ``token_ids``."""
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


async def _drawn_again(
    client: TeacherClient | OpenAIClient, sequence: ScoreSequence, top_k: int, info: ModelInfo
) -> Finding:
    context = sequence.token_ids[:8]
    num_tokens = max(1, min(16, _room(info) - len(context)))
    prompt = GeneratePrompt(token_ids=context, max_tokens=num_tokens, seed=1)
    request = GenerateRequest(prompts=[prompt], top_k=top_k)
    (one,), (other,) = [await client.generate(request) for _ in range(2)]
    same = one.token_ids.tolist() == other.token_ids.tolist()
    detail = f"the same seed twice: {len(one.token_ids)} tokens, {'the same' if same else 'others'}"
    return Finding("seeds", True if same else None, detail, "" if same else "runs will not repeat exactly")


async def _temperature(
    client: TeacherClient | OpenAIClient,
    context: list[int],
    row: NDArray[np.float64],
    ids: list[int],
    info: ModelInfo,
    say: Callable[[str], None],
) -> Finding:
    """Draw tokens at ``TEMPERATURE`` after ``context``, and judge them. ``say`` is told how many there are.

    The candidates for the next token are ``ids``; their log-probabilities (at temperature 1) are ``row``.
    """
    prompts = [GeneratePrompt(token_ids=context, max_tokens=1, seed=seed) for seed in range(NUM_DRAWS)]
    answers: list[SequenceAnswer] = []
    for part in generate_parts(prompts, len(ids), info):
        request = GenerateRequest(prompts=part, top_k=len(ids), temperature=TEMPERATURE)
        answers += await client.generate(request)
        say(f"its temperature, {len(answers)} of {NUM_DRAWS} tokens")
    place = {token: i for i, token in enumerate(ids)}
    drawn = [row[place[int(a.token_ids[0])]] for a in answers if int(a.token_ids[0]) in place]
    shift = float(np.abs(answers[0].top_logprobs[0] - row).max())
    return _judged(drawn, row, shift)


def _judged(drawn: Sequence[float], row: NDArray[np.float64], shift: float) -> Finding:
    """The finding on whether ``TEMPERATURE`` was heeded.

    ``drawn`` has the log-probability in ``row`` (at temperature 1) of each drawn token. ``shift`` is how far, in
    nats, the log-probabilities that came with the drawn tokens are from ``row``.
    """
    if shift >= CLOSE["unknown"]:
        detail = f"at {TEMPERATURE} log-probabilities are {shift:.2g} nats from those at 1"
        return Finding("temperature", False, detail, "it scales log-probabilities too")
    expected, deviation = (float(moment[0]) for moment in _moments(row, np.array([TEMPERATURE])))
    if deviation == 0 or not drawn:
        return Finding("temperature", None, f"{len(row)} log-probabilities a row do not show it")
    mean, error = float(np.mean(drawn)), deviation / np.sqrt(len(drawn))
    # The mean changes by deviation**2 / T**2 per unit of the temperature T, so the mean's error gives the error of T.
    temperature_error = error * TEMPERATURE**2 / deviation**2
    good = abs(mean - expected) <= MAX_ERRORS * error
    detail = (
        f"{len(drawn)} tokens asked at {TEMPERATURE} fall as at {_best_temperature(mean, row):.2f} (standard "
    )
    detail += (
        f"error {temperature_error:.2f}); their log-probabilities are within {shift:.2g} nats of those at 1"
    )
    if not good:
        return Finding("temperature", False, detail, "it is ignored")
    return Finding("temperature", True if MAX_ERRORS * temperature_error < 1 - TEMPERATURE else None, detail)


def _moments(
    row: NDArray[np.float64], temperatures: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of the log-probabilities (at 1) of tokens drawn from ``row`` at each temperature."""
    weights = np.exp((row[None] - row.max()) / temperatures[:, None])
    weights /= weights.sum(-1, keepdims=True)
    means = (weights * row).sum(-1)
    return means, np.sqrt((weights * (row[None] - means[:, None]) ** 2).sum(-1))


def _best_temperature(mean: float, row: NDArray[np.float64]) -> float:
    """The temperature at which tokens drawn from ``row`` have this ``mean`` of their log-probabilities (at 1)."""
    temperatures = np.arange(0.1, 3.0, 0.01, dtype=np.float64)
    means, _ = _moments(row, temperatures)
    return float(temperatures[int(np.argmin(np.abs(means - mean)))])


def _most_telling(
    sequences: Sequence[ScoreSequence], answers: Sequence[SequenceAnswer]
) -> tuple[list[int], NDArray[np.float64], list[int]]:
    """The context after which tokens say most about the temperature, with its candidates' log-probabilities and ids.

    It is the context with the largest spread of the drawn candidates' log-probabilities: the next token is neither
    certain, nor are all candidates equally likely.
    """
    places = [(n, j) for n, answer in enumerate(answers) for j in range(len(answer.top_ids))]
    n, j = max(places, key=lambda place: _telling(answers[place[0]].top_logprobs[place[1]]))
    return (
        sequences[n].token_ids[: j + 1],
        answers[n].top_logprobs[j].astype(np.float64),
        answers[n].top_ids[j].tolist(),
    )


def _telling(row: NDArray[np.float32]) -> float:
    """Fisher's information on the temperature in one token, up to a factor. Tokens outside the candidates have none."""
    _, deviations = _moments(row.astype(np.float64), np.array([TEMPERATURE]))
    return float(np.exp(row).sum() * deviations[0] ** 2)
