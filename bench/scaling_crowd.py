"""Measures many students on one machine: real workers on a real queue, whose models and teacher only wait."""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import ray
import torch
from torch import Tensor

from adaswitch.cluster import actors
from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.wire import GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from adaswitch.method.kept_logits import KeptLogits
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk
from services.student.actor import RaySource as StudentSource
from services.student.engines.engine import WriteRequest
from services.student.teacher_calls import TeacherCalls
from services.student.worker import StudentWorker
from trainer.source import RaySource as TrainerSource

VOCAB_SIZE = 1024
TOP_K = 64
NUM_TOKENS = 256
"""Tokens of a completion. With 64 candidates for each token, a rollout is as large as with real models."""
GROUP_SIZE = 8
NUM_PROCESSES = 2
STEPS_AHEAD = 4
NUM_TRIPS = 7
NUM_PARAMETERS = 32


@dataclass(frozen=True)
class Tempo:
    """Seconds to write for a group of prompts, and to score it. While a group is scored, another one can be written."""

    write_s: float = 4.0
    score_s: float = 3.0

    @property
    def pace(self) -> float:
        """Rollouts a second of one student that waits for nothing but its own writing."""
        return GROUP_SIZE / self.write_s


@dataclass(frozen=True)
class CrowdRow:
    """The result for one number of students: rollouts a second, and the CPU seconds that each part spends per rollout.

    ``bound`` is the rollouts a second if students never waited for the queue, the trainer or each other.
    """

    students: int
    rollouts_s: float
    bound: float
    student_cpu_s: float
    queue_cpu_s: float
    trainer_cpu_s: float


@dataclass(frozen=True)
class WeightsRow:
    """Seconds that weights take from a float32 trainer to the board, and from there into a student on the same node.

    Each is the median, with the shortest and the longest time, over all rounds but the first two, in which the object
    store gets its memory from the system.
    """

    mib: int
    dtype: str
    publish_s: tuple[float, float, float]
    fetch_s: tuple[float, float, float]
    store_mib: float
    """The memory of the object store that is in use after the last round."""


class SlowEngine:
    """A ``StudentEngine`` without a model, which waits as long as a model would compute."""

    def __init__(self, write_s: float) -> None:
        self._write_s = write_s
        self._token_ids = list(range(NUM_TOKENS))
        self._rows = KeptLogits(torch.zeros(NUM_TOKENS, VOCAB_SIZE))

    def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        """Write the same tokens for every request."""
        time.sleep(self._write_s)
        return [Chunk(self._token_ids, self._rows) for _ in requests]

    def forget(self, prompt_ids: Sequence[int]) -> None:
        """Do nothing: nothing is kept."""

    def weights(self) -> Mapping[str, Tensor]:
        """None: there is no model."""
        return {}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Do nothing: there is no model."""


class SlowTeacher:
    """A ``Client`` that answers with random distributions, after as long as a service would take."""

    def __init__(self, score_s: float) -> None:
        self._score_s = score_s
        rng = np.random.default_rng(0)
        logits = np.sort(rng.normal(size=(NUM_TOKENS, TOP_K)).astype(np.float32))[:, ::-1]
        logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True)) - 0.1
        ids = np.argsort(rng.random((NUM_TOKENS, VOCAB_SIZE)))[:, :TOP_K].astype(np.int32)
        tokens = np.arange(NUM_TOKENS - 1, dtype=np.int32)
        self._answer = SequenceAnswer(tokens, np.zeros(len(tokens), np.float32), ids, logprobs)

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """See ``Client``."""
        await asyncio.sleep(self._score_s)
        return [self._answer] * len(sequences)

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """Never called, as these students never switch to the teacher."""
        raise NotImplementedError


class Crowd:
    """Many students in one process."""

    def __init__(self, config: RunConfig, sources: Sequence[StudentSource], tempo: Tempo) -> None:
        torch.set_num_threads(1)
        self._sources = sources
        self._workers = [_worker(config, source, tempo) for source in sources]

    async def run(self) -> None:
        """Run all students until the queue is closed."""
        signs = [asyncio.create_task(source.stay_known()) for source in self._sources]
        try:
            await asyncio.gather(*(worker.run() for worker in self._workers))
        finally:
            for sign in signs:
                sign.cancel()

    def cpu_s(self) -> float:
        """CPU seconds of this process so far."""
        return time.process_time()


def _worker(config: RunConfig, source: StudentSource, tempo: Tempo) -> StudentWorker:
    info = ModelInfo(
        model="slow",
        backend="none",
        dtype="float32",
        vocab_size=VOCAB_SIZE,
        max_model_len=2 * NUM_TOKENS,
        max_top_k=TOP_K,
        max_request_tokens=65_536,
        tokenizer_sha256="",
    )
    calls = TeacherCalls(SlowTeacher(tempo.score_s), info, config.teacher, VOCAB_SIZE, config.seed, [])
    return StudentWorker(
        source, SlowEngine(tempo.write_s), calls, config.student, config.policy, [], info.max_model_len
    )


@contextmanager
def a_cluster(weights_mib: int) -> Iterator[None]:
    """Run Ray on this machine, with memory for two sets of weights and for rollouts."""
    ray.init(
        address="local",
        namespace=crowd_config(1).ray.namespace,
        num_cpus=NUM_PROCESSES,
        object_store_memory=(2 * weights_mib + 1024) * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()


class Reader:
    """A student, in a process of its own, that does nothing but take new weights into its model's parameters."""

    def __init__(self, source: StudentSource, mib: int, dtype: str) -> None:
        torch.set_num_threads(1)
        self._source = source
        self._parameters = _parameters(mib, getattr(torch, dtype))

    async def take(self, attempt: str, version: int) -> None:
        """Take the weights of ``version``, whose numbers all are ``version``."""
        weights = await (await self._source.newest_weights(attempt, version)).fetch()
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])
            assert parameter[-1].item() == version


def _parameters(mib: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Parameters that take ``mib`` MiB in ``dtype`` together."""
    num_numbers = mib * 2**20 // dtype.itemsize // NUM_PARAMETERS
    return {f"weight.{number}": torch.zeros(num_numbers, dtype=dtype) for number in range(NUM_PARAMETERS)}


def travel(mib: int, dtype: str) -> WeightsRow:
    """Publish weights that take ``mib`` MiB in the students' ``dtype``, and take them into a student."""
    torch.set_num_threads(1)
    config = crowd_config(1, dtype)
    queue, board = actors.rollout_queue(config), actors.weight_board(config)
    source = TrainerSource(queue, board, config)
    reader: Any = ray.remote(Reader).options(num_cpus=0)
    student = reader.remote(StudentSource(None, board, "student", None), mib, dtype)
    ray.get(student.__ray_ready__.remote())
    weights = _parameters(mib * 4 // getattr(torch, dtype).itemsize, torch.float32)
    attempt = ray.get(queue.present_attempt.remote())
    times = []
    for version in range(NUM_TRIPS + 2):
        for weight in weights.values():
            weight.fill_(version)
        started_s = time.perf_counter()
        source.publish(version, weights)
        published_s = time.perf_counter()
        ray.get(student.take.remote(attempt, version))
        times.append((published_s - started_s, time.perf_counter() - published_s))
    store_mib = _store_mib()
    source.close("measured")
    ray.kill(student)
    publish_s, fetch_s = ((median(each), min(each), max(each)) for each in zip(*times[2:], strict=True))
    return WeightsRow(mib, dtype, publish_s, fetch_s, store_mib)


def _store_mib() -> float:
    """The memory of the object store that is in use now."""
    key = "object_store_memory"
    return float(ray.cluster_resources()[key] - ray.available_resources().get(key, 0.0)) / 2**20


def crowd_config(num_students: int, dtype: str = "float32") -> RunConfig:
    """The settings of a run that loads no model and no data. ``dtype`` is the students' number type."""
    return parse_config(
        {
            "name": f"crowd-{num_students}",
            "task": {"kind": "chain"},
            "teacher": TeacherConfig.model_validate({"url": "http://127.0.0.1:1"}).model_dump(),
            "student": {
                "model": "none",
                "group_size": GROUP_SIZE,
                "max_new_tokens": NUM_TOKENS,
                "dtype": dtype,
            },
            "policy": OnPolicy().model_dump(),
        }
    )


def hold(num_students: int, seconds: float, tempo: Tempo) -> CrowdRow:
    """Let ``num_students`` students work for ``seconds`` after their first rounds.

    The trainer takes their rollouts but does not train. Ray must be running.
    """
    config = crowd_config(num_students)
    queue, board = actors.rollout_queue(config), actors.weight_board(config)
    source = TrainerSource(queue, board, config)
    source.publish(0, {"weight": torch.zeros(1)})
    names = [f"student-{number}" for number in range(num_students)]
    remote = ray.remote(Crowd).options(num_cpus=0, max_concurrency=4)
    crowds: list[Any] = [
        remote.remote(
            config, [StudentSource(queue, board, name, None) for name in names[part::NUM_PROCESSES]], tempo
        )
        for part in range(NUM_PROCESSES)
    ]
    running = [crowd.run.remote() for crowd in crowds]
    try:
        rollouts_s, cpu_s = _measure(source, queue, crowds, GROUP_SIZE * num_students, seconds)
        return CrowdRow(num_students, rollouts_s, tempo.pace * num_students, *cpu_s)
    finally:
        source.close("measured")
        ray.get(running)
        for crowd in crowds:
            ray.kill(crowd)


def _measure(
    source: TrainerSource,
    queue: Any,  # noqa: ANN401
    crowds: Sequence[Any],
    size: int,
    seconds: float,
) -> tuple[float, list[float]]:
    """Rollouts a second, and CPU seconds per rollout of students, queue and trainer. A step has ``size`` rollouts."""

    def clocks() -> np.ndarray:
        students = sum(ray.get([crowd.cpu_s.remote() for crowd in crowds]))
        in_queue = ray.get(queue.__ray_call__.remote(lambda _: time.process_time()))
        return np.array([time.perf_counter(), students, in_queue, time.process_time()])

    steps = [_step(number, size) for number in range(STEPS_AHEAD)]
    for step in steps:
        source.offer(step)
    before, number = clocks(), 0
    while number < 2 * STEPS_AHEAD or time.perf_counter() - before[0] < seconds:
        if number == STEPS_AHEAD:
            before = clocks()
        source.take(steps[number], lambda: False)
        steps.append(_step(len(steps), size))
        source.offer(steps[-1])
        number += 1
    spent = clocks() - before
    num_rollouts = size * (number - STEPS_AHEAD)
    return float(num_rollouts / spent[0]), (spent[1:] / num_rollouts).tolist()


def _step(step: int, size: int) -> list[Prompt]:
    return [Prompt(id=step * size + place, token_ids=(1, 2, 3), step=step) for place in range(size)]
