"""The clients of ``bench.load``, and the report of what they saw."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray

from adaswitch.commands.teacher_doctor import Reference, reference_rows
from adaswitch.contract.wire import SAFETENSORS_TYPE, SequenceAnswer, answers_from_safetensors
from bench.models import SMALL, make_model
from bench.servers import Server, our_service, say

GIVEN_UP, WRONG, COMPARED = 0.1, 0.1, 0.02
"""Shares: of requests that are given up or wrong on purpose, and of good answers that are compared."""
K = 8
TOLERANCE = 1e-3
"""The largest allowed difference, in nats, from transformers in the same precision."""
SAMPLE_EVERY_S = 1.0
WARM_S = 60.0
"""Memory is measured after this many seconds, or after a tenth of the run if that is sooner. The growth of memory is
not judged in a run that is shorter than this."""
MAX_GROWTH = 0.05
EXPECTED = {200, 422, 429, 503, 504}
WRONG_BODIES: list[tuple[object, int]] = [
    (b"{", 400),
    (b"\xff\xfe", 400),
    ({"sequences": []}, 422),
    ({"sequences": [{"token_ids": [1, 99_999], "start": 1}], "top_k": K}, 422),
    ({"sequences": [{"token_ids": [1], "start": 2}], "top_k": K}, 422),
    ({"sequences": [{"token_ids": [1] * 2000, "start": 1}], "top_k": K}, 422),
    ({"sequences": [{"token_ids": [1], "start": 1}], "top_k": 100_000}, 422),
]


@dataclass
class Report:
    """What all clients saw."""

    clients: int
    seconds: float
    codes: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    compared: int = 0
    largest_difference: float = 0.0
    memory_mib: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The growth of memory, as a share: from the median of the first tenth of samples to that of the last tenth."""
        tenth = max(1, len(self.memory_mib) // 10)
        return median(self.memory_mib[-tenth:]) / median(self.memory_mib[:tenth]) - 1

    def line(self) -> str:
        """The report as one line of JSON."""
        latencies = quantiles(self.latencies_s, n=100)
        document = {
            "clients": self.clients,
            "seconds": round(self.seconds, 1),
            "answers": dict(sorted(self.codes.items())),
            "good_answers_a_second": round(self.codes["200"] / self.seconds, 1),
            "latency_s": {"median": round(latencies[49], 4), "p99": round(latencies[98], 4)},
            "compared_with_transformers": self.compared,
            "largest_difference_nats": round(self.largest_difference, 7),
            "memory_mib": {"first": round(self.memory_mib[0]), "last": round(self.memory_mib[-1])},
            "memory_growth": round(self.growth, 4),
            "problems": self.problems[:10],
        }
        return json.dumps(document)


async def hold(folder: Path, num_clients: int, seconds: float, seed: int, engine: str) -> Report:
    """Start a service, and let ``num_clients`` clients ask it for ``seconds``."""
    model = make_model(folder / "model", SMALL)
    with our_service(model, folder, "--engine", engine, "--no-access-log") as server:
        return await set_clients_on(server, model, num_clients, seconds, seed)


async def set_clients_on(server: Server, model: Path, num_clients: int, seconds: float, seed: int) -> Report:
    """Let ``num_clients`` clients ask the running ``server`` for ``seconds``."""
    report = Report(num_clients, seconds)
    reference = reference_rows(str(model), SMALL.vocab_size)
    end_s = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=num_clients)
    async with httpx.AsyncClient(base_url=server.url, timeout=120.0, limits=limits) as http:
        watching = asyncio.create_task(_watch(server, report, min(WARM_S, seconds / 10)))
        clients = [
            _client(http, np.random.default_rng([seed, i]), reference, report, end_s)
            for i in range(num_clients)
        ]
        await asyncio.gather(*clients)
        watching.cancel()
    if seconds > WARM_S and report.growth > MAX_GROWTH:
        report.problems.append(f"memory grew by {report.growth:.1%}")
    return report


async def _watch(server: Server, report: Report, warm_s: float) -> None:
    """Record the memory of the service and of all processes that it started, until cancelled."""
    await asyncio.sleep(warm_s)
    said_s = 0.0
    while True:
        process = psutil.Process(server.process.pid)
        family = [process, *process.children(recursive=True)]
        report.memory_mib.append(sum(member.memory_info().rss for member in family) / 2**20)
        if time.monotonic() - said_s > 30:
            said_s = time.monotonic()
            num_requests, num_problems = sum(report.codes.values()), len(report.problems)
            say(f"{num_requests:,} requests, {report.memory_mib[-1]:.0f} MiB, {num_problems} problems")
        await asyncio.sleep(SAMPLE_EVERY_S)


async def _client(
    http: httpx.AsyncClient,
    rng: np.random.Generator,
    reference: Reference,
    report: Report,
    end_s: float,
) -> None:
    while time.monotonic() < end_s:
        kind = rng.random()
        if kind < GIVEN_UP:
            await _give_up(http, rng, report)
        elif kind < GIVEN_UP + WRONG:
            await _ask_wrongly(http, rng, report)
        else:
            await _ask(http, rng, reference, report)


def _request(rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
    token_ids = rng.integers(3, SMALL.vocab_size, int(rng.integers(2, 300))).tolist()
    if rng.random() < 0.7:
        start = int(rng.integers(1, len(token_ids) + 1))
        return "/v1/score", {"sequences": [{"token_ids": token_ids, "start": start}], "top_k": K}
    prompt = {
        "token_ids": token_ids,
        "max_tokens": int(rng.integers(1, 32)),
        "seed": int(rng.integers(2**62)),
    }
    return "/v1/generate", {"prompts": [prompt], "top_k": K}


async def _ask(
    http: httpx.AsyncClient,
    rng: np.random.Generator,
    reference: Reference,
    report: Report,
) -> None:
    path, body = _request(rng)
    started_s = time.perf_counter()
    response = await _sent(http, path, body, report)
    if response is None or response.status_code != 200:
        return
    report.latencies_s.append(time.perf_counter() - started_s)
    (answer,) = answers_from_safetensors(response.content)
    if rng.random() < COMPARED:
        _compare(path, body, answer, reference, report)


def _compare(
    path: str, body: dict[str, Any], answer: SequenceAnswer, reference: Reference, report: Report
) -> None:
    report.compared += 1
    token_ids, first, num_rows, wrong = _shape_of(path, body, answer)
    if wrong is None:
        rows = reference(token_ids)[first : first + num_rows]
        difference = _largest_difference(answer, rows)
        report.largest_difference = max(report.largest_difference, difference)
        wrong = f"{difference:.2g} nats from transformers" if difference > TOLERANCE else None
    if wrong is not None:
        report.problems.append(f"{path}: {wrong}")


def _shape_of(
    path: str, body: dict[str, Any], answer: SequenceAnswer
) -> tuple[list[int], int, int, str | None]:
    """Check the tokens and the shapes of ``answer``.

    Returns all tokens of the sequence, the index of the token that the answer's first row follows, the number of
    rows, and what is wrong with the answer (None if nothing is).
    """
    if path == "/v1/score":
        [sequence] = body["sequences"]
        token_ids, first = sequence["token_ids"], sequence["start"] - 1
        num_rows = len(token_ids) - first
        right_tokens = answer.token_ids.tolist() == token_ids[sequence["start"] :]
    else:
        [prompt] = body["prompts"]
        token_ids, first = [*prompt["token_ids"], *answer.token_ids.tolist()], len(prompt["token_ids"]) - 1
        # The prompt has no stop tokens, so the continuation has exactly ``max_tokens``.
        num_rows = prompt["max_tokens"]
        right_tokens = len(answer.token_ids) == num_rows
    wrong = None
    if not right_tokens:
        wrong = f"other tokens came than were asked for: {answer.token_ids.tolist()[:8]}"
    elif answer.top_ids.shape != (num_rows, K) or answer.top_logprobs.shape != (num_rows, K):
        wrong = f"{num_rows} rows of {K} asked, {answer.top_ids.shape} came"
    elif answer.token_logprobs.shape != answer.token_ids.shape:
        wrong = (
            f"{len(answer.token_ids)} tokens, {len(answer.token_logprobs)} of their log-probabilities came"
        )
    return token_ids, first, num_rows, wrong


def _largest_difference(answer: SequenceAnswer, rows: NDArray[np.float32]) -> float:
    """The largest difference, in nats, between ``answer`` and ``rows [n, V]``, over all candidates and tokens."""
    candidates = np.take_along_axis(rows, answer.top_ids.astype(np.int64), axis=1) - answer.top_logprobs
    num_tokens = len(answer.token_ids)
    own = rows[np.arange(num_tokens), answer.token_ids] - answer.token_logprobs
    return float(np.abs(np.concatenate([candidates.ravel(), own])).max())


async def _ask_wrongly(http: httpx.AsyncClient, rng: np.random.Generator, report: Report) -> None:
    body, expected = WRONG_BODIES[int(rng.integers(len(WRONG_BODIES)))]
    response = await _sent(http, "/v1/score", body, report)
    if response is not None and response.status_code not in {expected, 429}:
        report.problems.append(f"{str(body)[:60]}: {response.status_code} and not {expected}")


async def _give_up(http: httpx.AsyncClient, rng: np.random.Generator, report: Report) -> None:
    """Send a request, and hang up at most 0.05 seconds later. An answer that comes sooner does not count."""
    path, body = _request(rng)
    # A client of its own, as httpcore's pool loses a connection whose request is given up too early (its issue 1093).
    async with httpx.AsyncClient(base_url=http.base_url, timeout=http.timeout) as own:
        try:
            async with asyncio.timeout(float(rng.uniform(0.0, 0.05))):
                await own.post(path, json=body)
        except TimeoutError:
            report.codes["given up"] += 1


async def _sent(http: httpx.AsyncClient, path: str, body: object, report: Report) -> httpx.Response | None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        response = await http.post(path, content=content, headers={"Accept": SAFETENSORS_TYPE})
    except httpx.TransportError as error:
        report.problems.append(f"{path}: {error!r}")
        return None
    report.codes[str(response.status_code)] += 1
    if response.status_code not in EXPECTED | {400}:
        report.problems.append(f"{path}: {response.status_code} {response.text[:100]}")
    return response
