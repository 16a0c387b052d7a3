"""The student worker between a real queue and board, with an engine that only notes what it is asked."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from adaswitch.cluster.rollout_queue import Lease, RolloutQueue
from adaswitch.cluster.weight_board import PublishedWeights, WeightBoard
from adaswitch.config.student import StudentConfig
from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.completion_codec import Unaided, decode_completion
from adaswitch.contract.rollout_codec import decode_rollouts
from adaswitch.contract.wire import GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from adaswitch.errors import ModelError, NonFiniteError, TeacherProtocolError, TeacherRejectedError
from adaswitch.method.distribution import TopK
from adaswitch.method.kept_logits import KeptLogits
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.prompt import EVALUATION, Prompt
from adaswitch.method.roles import Chunk
from services.student.engines.engine import WriteRequest
from services.student.teacher_calls import TeacherCalls, TeacherRequest
from services.student.worker import StudentWorker

V = 5
INFO = ModelInfo(
    model="fake",
    backend="fake",
    dtype="float32",
    vocab_size=V,
    max_model_len=64,
    max_top_k=V,
    max_request_tokens=100,
    tokenizer_sha256="",
)


class FakeEngine:
    """Writes token 1 all the time; every call's weights are noted."""

    def __init__(self) -> None:
        self.present = torch.tensor(-1.0)
        self.written_with: list[tuple[int, float]] = []
        self.cached: set[int] = set()

    def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        for request in requests:
            self.written_with.append((request.prompt.id, float(self.present)))
            self.cached.add(request.prompt.id)
        return [
            Chunk([1] * request.num_tokens, KeptLogits(torch.zeros(request.num_tokens, V)))
            for request in requests
        ]

    def forget(self, prompt_ids: Sequence[int]) -> None:
        self.cached -= set(prompt_ids)

    def weights(self) -> Mapping[str, Tensor]:
        return {"w": self.present}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        self.present = weights["w"]


class FakeClient:
    """A teacher for whom every token is equally likely."""

    def __init__(self) -> None:
        self.requests: list[list[ScoreSequence]] = []
        self.top_id_shift = 0
        self.error: Exception | None = None

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        self.requests.append(sequences)
        if self.error is not None:
            raise self.error
        return [self._answer(len(s.token_ids) - s.start + 1, top_k) for s in sequences]

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        raise AssertionError("on-policy rollouts never ask for it")

    def _answer(self, rows: int, top_k: int) -> SequenceAnswer:
        ids = torch.arange(top_k).repeat(rows, 1).int() + self.top_id_shift
        logprobs = torch.zeros(rows, V).log_softmax(-1)[:, :top_k]
        return SequenceAnswer(
            torch.ones(rows - 1).int().numpy(), torch.zeros(rows - 1).numpy(), ids.numpy(), logprobs.numpy()
        )


class FetchedWeights:
    def __init__(self, published) -> None:
        self._published = published

    @property
    def version(self) -> int:
        return self._published.version

    async def fetch(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = self._published.stored
        return weights


class DirectSource:
    """The queue and the board without Ray."""

    def __init__(self, queue: RolloutQueue, board: WeightBoard) -> None:
        self._queue, self._board = queue, board

    async def lease(self, max_prompts: int, wait_s: float) -> Lease | None:
        return await self._queue.lease("s", max_prompts, wait_s)

    async def newest_weights(self, attempt: str, min_version: int) -> FetchedWeights:
        return FetchedWeights(await self._board.newest(attempt, min_version, 5))

    async def put(self, attempt: str, rollouts: dict[int, bytes]) -> None:
        await self._queue.put(attempt, rollouts)


class Setup:
    def __init__(
        self, engine: FakeEngine | None = None, client: FakeClient | None = None, **student: object
    ) -> None:
        self.queue = RolloutQueue(1000, 100)
        self.board = WeightBoard()
        self.engine = engine or FakeEngine()
        self.client = client or FakeClient()
        settings = StudentConfig(model="-", max_new_tokens=3, **{"group_size": 2, "num_groups": 2, **student})
        teacher = TeacherCalls(self.client, INFO, TeacherConfig(), V, 0, [0])
        self.worker = StudentWorker(
            DirectSource(self.queue, self.board),
            self.engine,
            teacher,
            settings,
            OnPolicy(),
            [0],
            max_tokens=64,
            learning_rate_before=lambda version: version / 10,
        )

    async def publish(self, version: int, attempt: str = "a") -> None:
        await self.board.publish(PublishedWeights(attempt, version, {"w": torch.tensor(float(version))}))

    async def step(self, step: int, min_version: int, attempt: str = "a", length: int = 2) -> list:
        ids = list(range(step * 4, step * 4 + 4))
        await self.queue.offer(attempt, [Prompt(i, (1,) * length, 1, step, min_version) for i in ids])
        blobs = await self.queue.take(attempt, ids, 10)
        assert blobs is not None
        await self.queue.acknowledge(attempt, ids)
        return [rollout for blob in blobs for rollout in decode_rollouts(blob)]


async def test_rollouts_carry_the_version_they_were_written_with_and_caches_are_dropped() -> None:
    setup = Setup()
    await setup.queue.begin("a")
    running = asyncio.create_task(setup.worker.run())
    for step in range(3):
        await setup.publish(step)
        rollouts = await setup.step(step, min_version=step)
        assert [rollout.weights_version for rollout in rollouts] == [step] * 4
        assert {w for i, w in setup.engine.written_with if i // 4 == step} == {float(step)}
    await setup.queue.close("a", "done")
    assert await running == "done"
    assert setup.engine.cached == set()


async def test_an_evaluation_is_written_with_the_version_it_asks_for_and_without_the_teacher() -> None:
    setup = Setup()
    await setup.queue.begin("a")
    await setup.publish(0)
    running = asyncio.create_task(setup.worker.run())
    await setup.step(0, min_version=0)
    setup.client.error = AssertionError("nobody may ask")
    ids = list(range(90, 95))
    asked = [Prompt(i, (1,), step=EVALUATION, min_version=1, greedy=True) for i in ids]
    await setup.queue.offer("a", asked)
    await setup.publish(1)
    blobs = await setup.queue.take("a", ids, 10)
    assert blobs is not None
    assert [decode_completion(blob) for blob in blobs] == [Unaided((1, 1, 1), 1)] * 5
    assert {weight for i, weight in setup.engine.written_with if i in ids} == {1.0}
    await setup.queue.close("a", "done")
    assert await running == "done"
    assert setup.engine.cached == set()


async def test_weights_are_waited_for_and_never_change_within_a_group() -> None:
    setup = Setup()
    await setup.queue.begin("a")
    await setup.publish(0)
    running = asyncio.create_task(setup.worker.run())
    await setup.step(0, min_version=0)
    taking = asyncio.create_task(setup.step(1, min_version=2))
    await asyncio.sleep(0.05)
    assert not taking.done()
    await setup.publish(2)
    assert {rollout.weights_version for rollout in await taking} == {2}
    await setup.queue.close("a", "done")
    await running


async def test_a_new_attempt_makes_the_worker_start_afresh() -> None:
    setup = Setup()
    await setup.queue.begin("a")
    await setup.publish(5)
    running = asyncio.create_task(setup.worker.run())
    await setup.step(0, min_version=5)
    await setup.queue.begin("b")
    await setup.publish(1, attempt="b")
    rollouts = await setup.step(0, min_version=1, attempt="b")
    assert {rollout.weights_version for rollout in rollouts} == {1}
    await setup.queue.close("b", "done")
    await running


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (
            float("nan"),
            r"weights are not finite after step 3, at a learning rate of 0\.3, \(w holds nan\): lower",
        ),
        (
            2.0,
            r"not numbers \(NaN\).* \(the student's weights after step 3, at .* are finite, the largest is 2\)",
        ),
    ],
)
async def test_numbers_that_are_not_finite_are_explained_by_the_weights(weight: float, words: str) -> None:
    class Diverged(FakeEngine):
        def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
            rows = [KeptLogits(torch.full((r.num_tokens, V), torch.nan)) for r in requests]
            return [Chunk([1] * len(kept.logits), kept) for kept in rows]

    setup = Setup(Diverged())
    await setup.queue.begin("a")
    await setup.board.publish(PublishedWeights("a", 3, {"w": torch.tensor(weight)}))
    await setup.queue.offer("a", [Prompt(0, (1, 1), 1, 0, 0)])
    with pytest.raises(NonFiniteError, match=words):
        await setup.worker.run()


async def test_a_prompt_that_does_not_fit_ends_the_worker() -> None:
    setup = Setup()
    await setup.queue.begin("a")
    await setup.publish(0)
    await setup.queue.offer("a", [Prompt(0, (1,) * 62, 1, 0, 0)])
    with pytest.raises(ModelError, match="62 tokens"):
        await setup.worker.run()


async def test_what_the_teacher_refuses_ends_the_worker() -> None:
    client = FakeClient()
    client.error = TeacherRejectedError("top_k: too many", status=422, code="out_of_range", field="top_k")
    setup = Setup(client=client)
    await setup.queue.begin("a")
    await setup.publish(0)
    await setup.queue.offer("a", [Prompt(i, (1, 1), 1, 0, 0) for i in range(2)])
    with pytest.raises(TeacherRejectedError, match="top_k"):
        await setup.worker.run()


def calls(client: FakeClient, **limits: int) -> TeacherCalls:
    return TeacherCalls(client, INFO.model_copy(update=limits), TeacherConfig(), V, 0, [0])


async def test_scoring_asks_for_just_the_rows_that_are_needed() -> None:
    client = FakeClient()
    request = TeacherRequest(Prompt(0, (1, 2, 3)), (4, 4, 0), start=1)
    (rows,) = await calls(client).score([request])
    assert client.requests == [[ScoreSequence(token_ids=[1, 2, 3, 4, 4], start=4)]]
    assert len(rows) == 2
    assert isinstance(rows, TopK)
    assert rows.k == V


@pytest.mark.parametrize(
    ("limits", "num_sequences"),
    [
        # Of 30 tokens and more, with V log-probabilities a row and one more.
        ({}, 3),
        ({"max_request_tokens": 10_000}, 128),
        ({"max_request_tokens": 10_000, "max_request_sequences": 2}, 2),
        ({"max_request_tokens": 10_000, "max_request_sequences": 200}, 133),
        ({"max_request_tokens": 10_000, "max_request_logprobs": 2 * 32 * (V + 1)}, 2),
        ({"max_request_tokens": 10_000, "max_request_logprobs": 1}, 1),
    ],
)
async def test_requests_are_split_by_the_teachers_limits_and_answers_stay_in_order(
    limits: dict[str, int], num_sequences: int
) -> None:
    client = FakeClient()
    requests = [TeacherRequest(Prompt(i, (1,) * 30), (1,) * (1 + i % 3), start=0) for i in range(133)]
    rows = await calls(client, **limits).score(requests)
    assert [len(row) for row in rows] == [1 + i % 3 for i in range(len(requests))]
    assert max(len(part) for part in client.requests) == num_sequences
    if not limits:
        assert all(sum(len(s.token_ids) for s in part) <= 100 for part in client.requests)


async def test_what_is_to_be_written_is_split_by_its_budget() -> None:
    class Writer(FakeClient):
        async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
            self.written.append([len(prompt.token_ids) for prompt in request.prompts])
            return [self._answer(prompt.max_tokens + 1, request.top_k) for prompt in request.prompts]

        written: list[list[int]]

    requests = [TeacherRequest(Prompt(i, (1,) * i), (), num_tokens=4) for i in range(1, 6)]
    for limits, expected in (
        ({"max_request_logprobs": 3 * 4 * (V + 1)}, [[1, 2, 3], [4, 5]]),
        ({"max_request_tokens": 17}, [[1, 2], [3, 4], [5]]),
    ):
        client = Writer()
        client.written = []
        assert len(await calls(client, **limits).generate(requests)) == 5
        assert client.written == expected


async def test_a_leg_of_the_teachers_may_end_at_tokens_of_its_own() -> None:
    class Writer(FakeClient):
        async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
            self.stops += [prompt.stop_token_ids for prompt in request.prompts]
            return [self._answer(prompt.max_tokens + 1, request.top_k) for prompt in request.prompts]

        stops: list[list[int]]

    client = Writer()
    client.stops = []
    plain = TeacherRequest(Prompt(0, (1,)), (), num_tokens=4)
    await calls(client).generate([plain, replace(plain, end_token_ids=frozenset({3, 2}))])
    assert client.stops == [[0], [0, 2, 3]]


async def test_an_id_that_the_tokenizer_does_not_have_is_refused() -> None:
    client = FakeClient()
    client.top_id_shift = 1
    with pytest.raises(TeacherProtocolError, match="id 5"):
        await calls(client).score([TeacherRequest(Prompt(0, (1,)), (1,), start=0)])


def test_a_teacher_without_log_probabilities_is_refused() -> None:
    silent = INFO.model_copy(update={"max_top_k": 0})
    with pytest.raises(ModelError, match="max_top_k 0"):
        TeacherCalls(FakeClient(), silent, TeacherConfig(), V, 0, [0])
