"""A run with teacher and student in this process: no HTTP, no Ray, the same numbers.

The engines are those of the services, on transformers, and rollouts go through the same ``Group``. So a synchronous
run ends with the weights of the served run, bit for bit, if the served teacher is on the transformers engine as well.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

from torch import Tensor

from adaswitch.config.run import RunConfig
from adaswitch.contract.completion_codec import Unaided
from adaswitch.contract.wire import ModelInfo
from adaswitch.data.run_models import cut_to_student
from adaswitch.data.threads import threads_of_one_process
from adaswitch.errors import NonFiniteError
from adaswitch.method.finite import explained
from adaswitch.method.learning_rate import last_learning_rate
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk
from adaswitch.method.rollout import Rollout
from adaswitch.preflight import Starts, check_run
from adaswitch.processes.cores import num_cores
from adaswitch.runs.opening import opened
from adaswitch.runs.words import run_of
from experiments.engines import LocalEngine
from experiments.one_process import (
    local_teacher,
    require_one_process,
    with_student_here,
    with_teacher_on,
)
from services.student.engines.engine import StudentEngine, WriteRequest
from services.student.group import Group
from services.student.parts import build_student
from services.student.teacher_calls import Client
from services.student.unaided import write_unaided
from services.student.whole_weights import WholeWeights
from services.teacher.engines import make_engine
from services.teacher.engines.engine import TeacherEngine
from trainer.job import prepare
from trainer.loop import is_complete, train

T = TypeVar("T")


class RunInLoop(Protocol):
    """Runs a coroutine to its end: ``asyncio.run``, or ``asyncio.Runner.run``, which keeps its event loop."""

    def __call__(self, main: Coroutine[Any, Any, T], /) -> T:
        """The coroutine's result."""


class LocalSource:
    """A ``RolloutSource`` that makes a step's rollouts when ``take`` asks for them, with the weights published last."""

    def __init__(
        self, config: RunConfig, teacher: Client, info: ModelInfo, run: RunInLoop = asyncio.run
    ) -> None:
        """``teacher`` answers as the REST client would, and serves ``info``; ``run`` uses the teacher's event loop."""
        parts = build_student(with_student_here(config), teacher, info)
        self._config, self._teacher, self._policy = config, parts.teacher, parts.policy
        # In this process it is always the engine transformers.
        self._engine = cast("StudentEngine", parts.engine)
        self._budget = Budget(config.student.max_new_tokens, frozenset(parts.stop_token_ids))
        self._run = run
        self._whole = WholeWeights(config.student.model, config.student.dtype)
        self._version = 0

    def publish(self, version: int, weights: Mapping[str, Tensor]) -> None:
        """See ``RolloutSource``."""
        self._engine.load_weights(self._whole.of(weights))
        self._version = version

    def offer(self, prompts: Sequence[Prompt]) -> None:
        """Do nothing ahead of time: ``take`` gets the same prompts."""

    def take(self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]) -> list[Rollout] | None:
        """See ``RolloutSource``."""
        if should_stop():
            return None
        rollouts = self._run(self.roll_out(prompts))
        return [replace(rollout, weights_version=self._version) for rollout in rollouts]

    @property
    def version(self) -> int:
        """See ``RolloutSource``."""
        return self._version

    def take_unaided(
        self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]
    ) -> list[Unaided] | None:
        """See ``RolloutSource``."""
        if should_stop():
            return None
        try:
            texts = self._run(write_unaided(self._write, prompts, self._budget))
        except NonFiniteError as error:
            raise NonFiniteError(self._explained(error)) from error
        self._engine.forget([prompt.id for prompt in prompts])
        return [Unaided(tuple(token_ids), self._version) for token_ids in texts]

    async def roll_out(self, prompts: Sequence[Prompt]) -> list[Rollout]:
        """Make the rollouts of ``prompts``, in groups as students would lease them, one group after the other."""
        size = self._config.student.group_size
        rollouts: list[Rollout] = []
        for start in range(0, len(prompts), size):
            group = Group(self._write, self._teacher, self._policy, self._budget)
            try:
                rollouts += await group.roll_out(prompts[start : start + size])
            except NonFiniteError as error:
                raise NonFiniteError(self._explained(error)) from error
        self._engine.forget([prompt.id for prompt in prompts])
        return rollouts

    def _explained(self, error: NonFiniteError) -> str:
        trainer = self._config.trainer
        rate = last_learning_rate(trainer.optimizer, self._version, trainer.num_steps)
        return explained(error, self._engine.weights(), self._version, rate)

    async def _write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        return self._engine.write(requests)

    def depth(self) -> int:
        """Always 0: no rollouts wait here."""
        return 0

    def close(self, reason: str) -> None:
        """Do nothing: there are no students to tell."""


def train_locally(
    config: RunConfig,
    should_stop: Callable[[], bool],
    engine: LocalEngine = "transformers",
    before_close: Callable[[], None] = lambda: None,
    command: str | None = None,
) -> bool:
    """Train by ``config`` in this process, or continue an interrupted run. Returns whether the run is complete.

    A run that is complete already starts nothing. ``command`` is what goes on with the run, for people.

    On the ``engine`` transformers, the teacher starts at once and gives the numbers of a served run. On vllm, it runs
    in a process of its own, whose slow start pays off for a large teacher. ``before_close`` is called while that
    process still lives.
    """
    require_one_process(config)
    config, steps = opened(config)
    if steps is not None:
        print(f"{run_of(config).path} is complete after {steps} steps already", flush=True)
        return True
    data = check_run(with_teacher_on(config, engine), Starts.ONE_PROCESS, print)
    config = data.models.named_in(config)
    threads = threads_of_one_process(config, num_cores())
    teachers: list[TeacherEngine] = []
    # All steps share one event loop, as vLLM's client belongs to the event loop that it was started in.
    with asyncio.Runner() as runner:

        def start_teacher() -> LocalSource:
            """Start the teacher. Called only for a policy that needs a teacher; ``replay`` needs none."""
            serve = cut_to_student(local_teacher(config, engine, threads), config.student.model)
            teacher = make_engine(serve)
            teachers.append(teacher)
            runner.run(teacher.start())
            return LocalSource(config, teacher, teacher.info, runner.run)

        try:
            job, start = prepare(config, start_teacher, should_stop, data=data, num_threads=threads)
            if command is not None:
                job.status.goes_on_with(command)
            try:
                return is_complete(job, train(job, start))
            finally:
                job.recorder.close()
        finally:
            before_close()
            for teacher in teachers:
                runner.run(teacher.close())
