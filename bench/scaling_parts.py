"""Measures the pace of each part of a run by itself, on this machine, with the run's own models and rollouts."""

import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import fmean, median

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.data.threads import student_threads, trainer_threads
from adaswitch.errors import DataError
from adaswitch.method.rollout import Rollout
from adaswitch.processes.cores import compute_with, num_cores
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.shards import read_shard
from adaswitch.teachers import connect_teacher
from bench.scaling_model import Paces, Work
from bench.servers import our_service, say
from services.student.engine_calls import calls_of
from services.student.engines.engine import WriteRequest
from services.student.parts import StudentParts, build_student
from services.student.teacher_calls import TeacherRequest
from trainer.learner import Learner

NUM_ROUNDS = 7
CHUNK = 16
"""Tokens that a student writes in one call, and then has scored in one call."""


class RecordedRun:
    """A finished run whose parts are measured again: its settings, its last rollouts, its mean work."""

    def __init__(self, folder: str) -> None:
        """Raises ``DataError`` if the run has no steps, no rollouts, or does not say what its teacher is."""
        run = RunDirectory.open(folder)
        self.config = load_config(run.path / "config.yaml")
        self._records = list(read_records(run.metrics))
        if not self._records or not run.shards():
            raise DataError("the run has no steps, or no rollouts (trainer.save_rollouts)", source=folder)
        if self.config.teacher.serve is None:
            raise DataError(
                "the run's config does not say what its teacher is (teacher.serve)", source=folder
            )
        self.serve: TeacherServiceConfig = self.config.teacher.serve
        self.rollouts = read_shard(run.shards()[-1])

    @property
    def work(self) -> Work:
        """The tokens of the run's mean rollout."""
        names = ("student_tokens", "scored_tokens", "teacher_tokens", "num_tokens")
        num = self.config.trainer.prompts_per_step
        return Work(*(fmean(record[name] for record in self._records) / num for name in names))

    def median_s(self, name: str) -> float:
        """The median over all steps of the seconds recorded as ``name``, such as ``step_s`` or ``publish_s``."""
        return float(median(record[name] for record in self._records))


async def measure_paces(run: RecordedRun, queue: float) -> Paces:
    """Measure each part alone: a teacher service over HTTP, a student's engine, a trainer.

    ``queue`` is the queue's pace in rollouts a second, which becomes part of the result as it is.
    """
    options = ("--no-access-log", "--dtype", run.serve.dtype, "--engine", run.serve.engine)
    lengths = {"max_model_len": run.serve.max_model_len} if run.serve.max_model_len else {}
    say("the run's teacher ...")
    with (
        tempfile.TemporaryDirectory() as logs,
        our_service(Path(run.serve.model), Path(logs), *options, **lengths) as server,
    ):
        teacher = run.config.teacher.model_copy(update={"url": server.url})
        config = run.config.model_copy(update={"teacher": teacher})
        client = connect_teacher(config)
        try:
            parts = build_student(config, client, await client.model_info())
            group = run.rollouts[: config.student.group_size]
            compute_with(student_threads(config, num_cores(), 1, alone=True))
            student = await _student(parts, group)
            scoring, writing = await _scoring(parts, group), await _writing(parts, group)
        finally:
            await client.aclose()
    say("the run's trainer ...")
    return Paces(student, scoring, writing, await _training(run), queue)


async def _student(parts: StudentParts, group: Sequence[Rollout]) -> float:
    engine = calls_of(parts.engine)

    async def work() -> int:
        await engine.forget([rollout.prompt.id for rollout in group])
        chunks = await engine.write([WriteRequest(rollout.prompt, (), CHUNK) for rollout in group])
        return sum(len(chunk.token_ids) for chunk in chunks)

    try:
        return await _pace(work)
    finally:
        engine.close()


async def _scoring(parts: StudentParts, group: Sequence[Rollout]) -> float:
    requests = [TeacherRequest(each.prompt, each.completion_token_ids[:CHUNK]) for each in group]

    async def work() -> int:
        return sum(len(rows) for rows in await parts.teacher.score(requests))

    return await _pace(work)


async def _writing(parts: StudentParts, group: Sequence[Rollout]) -> float:
    """The teacher's tokens a second when it writes after a switch in the middle of each completion."""
    requests = []
    for rollout in group:
        half = rollout.num_tokens // 2
        start = rollout.completion_token_ids[:half]
        requests.append(TeacherRequest(rollout.prompt, start, num_tokens=max(1, rollout.num_tokens - half)))

    async def work() -> int:
        return sum(len(each.token_ids) for each in await parts.teacher.generate(requests))

    return await _pace(work)


async def _training(run: RecordedRun) -> float:
    compute_with(trainer_threads(run.config, num_cores(), alone=True))
    learner = Learner.from_folder(run.config.student.model, run.config.trainer, "cpu")

    async def work() -> int:
        return learner.update(run.rollouts, 0).num_tokens

    return await _pace(work)


async def _pace(work: Callable[[], Awaitable[int]]) -> float:
    """Tokens a second: the median over ``NUM_ROUNDS`` rounds, after a first round that is not counted."""
    paces = []
    for _ in range(NUM_ROUNDS + 1):
        started_s = time.perf_counter()
        num_tokens = await work()
        paces.append(num_tokens / (time.perf_counter() - started_s))
    return median(paces[1:])
