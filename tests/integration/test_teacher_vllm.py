"""The teacher service on real vLLM: its numbers against transformers, its drawing, cancelling, and its end.

Two services are started once, side by side. The last tests end them.
"""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest

from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.wire import ScoreSequence, SequenceAnswer, answers_from_json
from adaswitch.teachers.native import TeacherClient
from tests.dashboards import complaints_of_all
from tests.promql import exposed
from tests.teacher_models import Reference, assert_rows, assert_token_logprobs, make_model
from tests.teacher_process import TeacherProcess, session_members, wait_until_gone

pytestmark = [pytest.mark.integration, pytest.mark.needs_vllm, pytest.mark.timeout(240)]

# The tokens, and the rows of the embedding: vLLM pads neither 67 nor 80 as it pads 64.
PADDED_VOCAB_SIZE, NUM_ROWS = 67, 80
PEAKED_VOCAB_SIZE = 64
MAX_MODEL_LEN = 256
RANDOM = np.random.default_rng(0)
SEQUENCES = [RANDOM.integers(0, PEAKED_VOCAB_SIZE, length).tolist() for length in (1, 2, 9, 140, 255)]


class Served:
    """A service with its model's own distributions beside it."""

    def __init__(self, process: TeacherProcess, reference: Reference, vocab_size: int) -> None:
        self.process = process
        self.rows = reference.rows
        self.vocab_size = vocab_size

    def score(self, sequences: list[tuple[list[int], int]], top_k: int) -> list[SequenceAnswer]:
        body = {"sequences": [{"token_ids": ids, "start": start} for ids, start in sequences], "top_k": top_k}
        return self.process.ask("/v1/score", body)

    def generate(self, prompts: list[dict[str, object]], **settings: object) -> list[SequenceAnswer]:
        return self.process.ask("/v1/generate", {"prompts": prompts, "top_k": 8, **settings})


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    root = tmp_path_factory.mktemp("teachers")
    models = {
        "padded": (make_model(root / "padded", PADDED_VOCAB_SIZE, num_rows=NUM_ROWS), PADDED_VOCAB_SIZE),
        "peaked": (make_model(root / "peaked", PEAKED_VOCAB_SIZE, sharpness=6.0), PEAKED_VOCAB_SIZE),
    }
    started = {
        # Small blocks: a hit may reach beyond the start of what is asked for.
        name: TeacherProcess(root / f"{name}.log", folder, "--max-top-k", "256", "--kv-block-size", "32")
        for name, (folder, _) in models.items()
    }
    try:
        yield {
            name: Served(started[name].wait_until_ready(200.0), Reference(folder, vocab_size), vocab_size)
            for name, (folder, vocab_size) in models.items()
        }
    finally:
        for process in started.values():
            process.end()


@pytest.fixture(params=["padded", "peaked"])
def served(request: pytest.FixtureRequest, services: dict[str, Served]) -> Served:
    return services[request.param]


@pytest.fixture
def padded(services: dict[str, Served]) -> Served:
    return services["padded"]


@pytest.fixture
def peaked(services: dict[str, Served]) -> Served:
    return services["peaked"]


@pytest.mark.parametrize("top_k", [0, 1, 8, -1])
def test_every_row_from_every_start_is_that_of_transformers(served, top_k):
    asked = [
        (ids, start)
        for ids in SEQUENCES
        for start in sorted({1, 2, len(ids) // 2, len(ids) - 1, len(ids)} & set(range(1, len(ids) + 1)))
    ]
    for (ids, start), answer in zip(asked, served.score(asked, top_k), strict=True):
        rows = served.rows(ids)[start - 1 :]
        assert answer.top_ids.shape == (len(rows), served.vocab_size if top_k == -1 else top_k)
        assert answer.token_ids.tolist() == ids[start:]
        assert_rows(answer, rows)
        assert_token_logprobs(answer, rows)


def overlapping(served: Served, rng: np.random.Generator) -> list[tuple[list[int], int]]:
    """Requests that share prefixes of many lengths, repeat each other, and start anywhere: near a block's edge most."""
    trunk = rng.integers(0, PEAKED_VOCAB_SIZE, 255).tolist()
    branches = [trunk]
    for place in (60, 95, 96, 97, 128, 200):
        branches.append([*trunk[:place], *rng.integers(0, PEAKED_VOCAB_SIZE, 255 - place).tolist()])
    asked = []
    for _ in range(150):
        branch = branches[rng.integers(len(branches))]
        length = int(rng.choice([rng.integers(1, 256), 95, 96, 97, 98, 128, 129, 192, 255]))
        near = [length, length - 32, length - 1, 95, 96, 97, 1]
        start = int(rng.choice([rng.integers(1, length + 1), *(n for n in near if 1 <= n <= length)]))
        asked.append((branch[:length], start))
    return asked + asked[:50]


def cached_tokens(served: Served) -> float:
    """How many tokens vLLM has taken from its prefix cache."""
    lines = served.process.http.get("/metrics").text.splitlines()
    return sum(float(line.split(" ")[1]) for line in lines if line.startswith("vllm:prefix_cache_hits_total"))


@pytest.mark.parametrize("seed", [0, 1])
def test_what_the_cache_answers_is_what_transformers_says(served, seed):
    rng = np.random.default_rng(seed)
    asked = overlapping(served, rng)
    cached_before = cached_tokens(served)
    rng.shuffle(asked)
    groups = [asked[i : i + 5] for i in range(0, len(asked), 5)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda group: served.score(group, 8), groups))
    for group, found in zip(groups, answers, strict=True):
        for (ids, start), answer in zip(group, found, strict=True):
            rows = served.rows(ids)[start - 1 :]
            assert answer.token_ids.tolist() == ids[start:]
            # Keys and values from another batch: a little more rounding than without the cache.
            assert_rows(answer, rows, atol=1e-3)
            assert_token_logprobs(answer, rows, atol=1e-3)
    # Or nothing was tested.
    assert cached_tokens(served) > cached_before


def test_the_whole_vocabulary_sums_to_one_and_has_no_padding_rows(served):
    (answer,) = served.score([(SEQUENCES[2], 1)], -1)
    assert sorted(answer.top_ids[0].tolist()) == list(range(served.vocab_size))
    np.testing.assert_allclose(np.exp(answer.top_logprobs.astype(np.float64)).sum(-1), 1.0, atol=1e-5)


def test_the_peaked_model_is_peaked(peaked):
    """Or the tests above would say nothing about small probabilities."""
    (answer,) = peaked.score([(SEQUENCES[3], 1)], -1)
    assert np.exp(answer.top_logprobs[:, 0]).mean() > 0.7
    assert answer.top_logprobs.min() < -20


def prompt_of(token_ids: list[int], max_tokens: int, seed: int, **more: object) -> dict[str, object]:
    return {"token_ids": token_ids, "max_tokens": max_tokens, "seed": seed, **more}


@pytest.mark.parametrize("settings", [{"temperature": 1.0}, {"temperature": 0.6, "top_p": 0.8, "top_k": -1}])
def test_generated_rows_are_the_raw_distributions_that_the_tokens_were_drawn_from(served, settings):
    prompts = [prompt_of(ids, 12, seed) for seed, ids in enumerate(SEQUENCES[:4])]
    for prompt, answer in zip(prompts, served.generate(prompts, **settings), strict=True):
        assert (len(answer.token_ids), answer.finish_reason) == (12, "length")
        rows = served.rows([*prompt["token_ids"], *answer.token_ids.tolist()])[
            len(prompt["token_ids"]) - 1 : -1
        ]
        assert_rows(answer, rows)
        assert_token_logprobs(answer, rows)


def test_a_seed_fixes_what_is_drawn_whatever_runs_beside_it(padded):
    alone = padded.generate([prompt_of([5], 30, 1)])[0].token_ids.tolist()
    together = padded.generate([prompt_of([9, 9], 40, 3), prompt_of([5], 30, 1), prompt_of([5], 30, 2)])
    assert together[1].token_ids.tolist() == alone != together[2].token_ids.tolist()


def test_a_seed_fixes_what_is_drawn_where_prompts_are_computed_in_parts(padded):
    """More tokens at once than a step of the engine takes: some prompts are cut in two."""
    rng = np.random.default_rng(3)
    prompts = [prompt_of(rng.integers(0, 40, 240).tolist(), 4, seed) for seed in range(24)]
    together = padded.generate(prompts, temperature=1.0)
    alone = [padded.generate([prompt], temperature=1.0)[0] for prompt in prompts]
    assert [answer.token_ids.tolist() for answer in together] == [
        answer.token_ids.tolist() for answer in alone
    ]


def test_greedy_takes_the_likeliest(served):
    for answer in served.generate([prompt_of(ids, 10, 0) for ids in SEQUENCES[:3]], temperature=0.0):
        assert answer.token_ids.tolist() == answer.top_ids[:, 0].tolist()


def test_only_the_stop_tokens_asked_for_end_a_completion(padded):
    end_of_sequence = 2  # of the model's own configuration
    prompts = [prompt_of([seed], 200, seed) for seed in range(3, 9)]
    free = padded.generate(prompts)
    assert all(len(a.token_ids) == 200 and a.finish_reason == "length" for a in free)
    assert any(end_of_sequence in a.token_ids[:-1] for a in free)
    stopping = [prompt | {"stop_token_ids": [end_of_sequence, 7]} for prompt in prompts]
    for one, other in zip(free, padded.generate(stopping), strict=True):
        places = np.flatnonzero(np.isin(one.token_ids, [end_of_sequence, 7]))
        end = int(places[0]) + 1 if len(places) else 200
        assert other.token_ids.tolist() == one.token_ids[:end].tolist()
        assert other.finish_reason == ("stop" if len(places) else "length")
        assert len(other.top_ids) == end


@pytest.mark.parametrize(("temperature", "top_p"), [(0.5, 1.0), (1.5, 1.0), (1.0, 0.5)])
def test_tokens_are_drawn_at_the_temperature_and_top_p_asked_for(padded, temperature, top_p):
    num_draws = 1000
    scaled = np.exp(padded.rows([4, 8])[-1].astype(np.float64) / temperature)
    scaled /= scaled.sum()
    order = np.argsort(-scaled)
    kept = order[np.cumsum(scaled[order]) - scaled[order] < top_p]
    expected = np.zeros_like(scaled)
    expected[kept] = scaled[kept] / scaled[kept].sum()
    counts = np.zeros_like(expected)
    for first in range(0, num_draws, 250):
        prompts = [prompt_of([4, 8], 1, seed) for seed in range(first, first + 250)]
        for answer in padded.generate(prompts, temperature=temperature, top_p=top_p, top_k=0):
            counts[answer.token_ids[0]] += 1
    assert counts[expected == 0].sum() == 0
    # The mean of chi-squared is its degrees of freedom, its deviation the root of twice those.
    freedom = np.count_nonzero(expected) - 1
    likely = expected > 0
    chi_squared = ((counts - num_draws * expected)[likely] ** 2 / (num_draws * expected[likely])).sum()
    assert chi_squared < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/score", {"sequences": [{"token_ids": SEQUENCES[2], "start": 3}], "top_k": 5}),
        ("/v1/generate", {"prompts": [prompt_of([3], 6, 5)], "top_k": 5}),
    ],
)
def test_json_and_safetensors_say_the_same(padded, path, body):
    (binary,) = padded.process.ask(path, body)
    (plain,) = answers_from_json(padded.process.http.post(path, json=body).json())
    np.testing.assert_array_equal(plain.token_ids, binary.token_ids)
    np.testing.assert_array_equal(plain.top_ids, binary.top_ids)
    # Computed twice, so equal up to rounding.
    np.testing.assert_allclose(plain.top_logprobs, binary.top_logprobs, atol=1e-5)
    assert plain.finish_reason == binary.finish_reason


async def test_the_client_gets_what_it_asks_for(padded):
    client = TeacherClient.from_config(TeacherConfig(url=padded.process.url))
    await client.wait_until_ready(5.0, pytest.fail)
    info = await client.model_info()
    assert (info.backend, info.dtype, info.vocab_size, info.max_model_len, info.max_top_k) == (
        "vllm",
        "float32",
        PADDED_VOCAB_SIZE,
        MAX_MODEL_LEN,
        PADDED_VOCAB_SIZE,
    )
    (answer,) = await client.score([ScoreSequence(token_ids=SEQUENCES[3], start=7)], top_k=-1)
    assert_rows(answer, padded.rows(SEQUENCES[3])[6:])
    await client.aclose()


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (
            "/v1/score",
            {"sequences": [{"token_ids": [70], "start": 1}], "top_k": 1},
            "sequences.0.token_ids.0",
        ),
        (
            "/v1/score",
            {"sequences": [{"token_ids": [1] * 256, "start": 1}], "top_k": 1},
            "sequences.0.token_ids",
        ),
        ("/v1/score", {"sequences": [{"token_ids": [1], "start": 1}], "top_k": 68}, "top_k"),
        ("/v1/generate", {"prompts": [prompt_of([1], 256, 0)], "top_k": 1}, "prompts.0.max_tokens"),
        ("/v1/generate", {"prompts": [prompt_of([1], 1, 2**63)], "top_k": 1}, "prompts.0.seed"),
    ],
)
def test_what_is_out_of_range_is_refused_and_hurts_nobody(padded, path, body, field):
    response = padded.process.http.post(path, json=body)
    assert (response.status_code, response.json()["error"]["field"]) == (422, field)
    assert padded.score([([1], 1)], 1)


def test_the_extremes_that_are_allowed_work(padded):
    prompts = [prompt_of([1] * 255, 1, 2**63 - 1), prompt_of([1], 255, 0)]
    for temperature in (0.01, 2.0):
        short, long = padded.generate(prompts, temperature=temperature)
        assert (len(short.token_ids), len(long.token_ids)) == (1, 255)


def long_work(num_prompts: int, max_tokens: int = 250, top_k: int = 64) -> dict[str, object]:
    return {"prompts": [prompt_of([1], max_tokens, seed) for seed in range(num_prompts)], "top_k": top_k}


def engine_of(process: TeacherProcess) -> psutil.Process:
    (engine,) = (
        p for p in process.family() if "EngineCore" in p.name() or "EngineCore" in " ".join(p.cmdline())
    )
    return engine


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def test_a_client_that_hangs_up_frees_its_place_in_the_engine(padded):
    in_flight = "adaswitch_teacher_requests_in_flight"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{padded.process.url}/v1/generate", json=long_work(250), timeout=1.0)
    left_s = time.monotonic()
    while padded.process.metric(in_flight) > 0:
        assert time.monotonic() - left_s < 1.0
    time.sleep(max(0.0, left_s + 1.0 - time.monotonic()))
    engine = engine_of(padded.process)
    before_s = cpu_s(engine)
    time.sleep(0.5)
    assert cpu_s(engine) - before_s < 0.1
    assert padded.process.metric('adaswitch_teacher_requests_total{code="499",route="/v1/generate"}') == 1


def test_many_clients_at_once_each_get_their_own_answer(padded):
    asked = [(RANDOM.integers(0, PADDED_VOCAB_SIZE, 20).tolist(), 5) for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda sequence: padded.score([sequence], 8), asked))
    for (ids, start), (answer,) in zip(asked, answers, strict=True):
        assert_rows(answer, padded.rows(ids)[start - 1 :])


def test_metrics_have_the_services_and_the_engines_own(padded):
    text = padded.process.http.get("/metrics").text
    for name in ("adaswitch_teacher_scored_tokens_total", "vllm:generation_tokens_total"):
        assert name in text
    assert padded.process.metric("adaswitch_teacher_ready") == 1
    assert complaints_of_all(exposed(text), "vllm:.*") == []


def test_sigterm_finishes_what_is_under_way_and_leaves_no_process_and_no_shared_memory(padded):
    process = padded.process
    assert len(process.family()) >= 2
    shared = process.shared_memory()
    assert shared
    results: list[int] = []

    def work() -> None:
        response = httpx.post(f"{process.url}/v1/generate", json=long_work(60), timeout=60.0)
        results.append(response.status_code)

    thread = threading.Thread(target=work)
    thread.start()
    while process.metric("adaswitch_teacher_requests_in_flight") == 0:
        assert thread.is_alive()
    process.process.send_signal(signal.SIGTERM)
    codes = set()
    while not codes:
        response = process.http.get("/readyz")
        if response.status_code == 503:
            codes.add(response.json()["error"]["code"])
    refused = process.http.post("/v1/score", json={"sequences": [{"token_ids": [1], "start": 1}], "top_k": 0})
    assert (codes, refused.status_code) == ({"draining"}, 503)
    thread.join()
    assert results == [200]
    assert process.process.wait(30) == 0
    assert "Traceback" not in process.log.read_text()
    assert wait_until_gone(process.process.pid) == []
    assert [path for path in shared if path.exists()] == []


def test_a_killed_service_takes_its_engine_with_it(peaked):
    process = peaked.process
    engine = engine_of(process)
    process.signal_and_wait(signal.SIGKILL)
    assert wait_until_gone(process.process.pid) == []
    assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE
    assert session_members(process.process.pid) == []
