"""``StudentWorker``: leases prompts, pulls weights, rolls out, puts rollouts. A plain class that knows nothing of Ray.

Several groups are under way at once: while one group waits for the teacher, another group writes. Weights change only
when no group is under way, so that a rollout is written by one version throughout.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, TypeVar

from torch import Tensor

from adaswitch.cluster.rollout_queue import Lease
from adaswitch.config.student import StudentConfig
from adaswitch.contract.rollout_codec import encode_rollouts
from adaswitch.data.models import check_lengths
from adaswitch.errors import NonFiniteError, QueueClosedError, StaleAttemptError
from adaswitch.method.finite import explained
from adaswitch.method.policies.base import Policy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk
from services.student.engines.engine import StudentEngine, WriteRequest
from services.student.group import Group
from services.student.teacher_calls import TeacherCalls

LEASE_WAIT_S = 10.0
"""The number of seconds that one call waits for prompts before the call is made again."""


Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Weights(Protocol):
    """Published weights that are not fetched yet."""

    @property
    def version(self) -> int:
        """The number of updates that made the weights."""

    async def fetch(self) -> dict[str, Tensor]:
        """The tensors, by parameter name."""


class Source(Protocol):
    """The queue and the weight board: prompts and weights come from them, and rollouts go to them."""

    async def lease(self, max_prompts: int, wait_s: float) -> Lease | None:
        """See ``RolloutQueue.lease``."""

    async def newest_weights(self, attempt: str, min_version: int) -> Weights:
        """See ``WeightBoard.newest``."""

    async def put(self, attempt: str, rollouts: dict[int, bytes]) -> None:
        """See ``RolloutQueue.put``."""


class StudentWorker:
    """Works for one run until the queue is closed."""

    def __init__(
        self,
        source: Source,
        engine: StudentEngine,
        teacher: TeacherCalls,
        config: StudentConfig,
        policy: Policy,
        stop_token_ids: Sequence[int],
        max_tokens: int,
        learning_rate_before: Callable[[int], float | None] = lambda version: None,
    ) -> None:
        """``max_tokens`` is the longest sequence that both models take.

        ``learning_rate_before(version)`` is the rate of the update that made the weights of ``version``, for messages.
        """
        self._source = source
        self._engine = engine
        self._teacher = teacher
        self._config = config
        self._policy = policy
        self._budget = Budget(config.max_new_tokens, frozenset(stop_token_ids))
        self._max_tokens = max_tokens
        self._learning_rate_before = learning_rate_before
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="student-model")
        self._loaded: tuple[str, int] | None = None  # attempt and version
        self._num_active = 0
        self._gate = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> str:
        """Roll out until the run is over. Returns why the run is over."""
        groups = [asyncio.create_task(self._serve()) for _ in range(self._config.num_groups)]
        try:
            reasons = await asyncio.gather(*groups)
        finally:
            for group in groups:
                group.cancel()
            await asyncio.gather(*groups, return_exceptions=True)
            self._thread.shutdown()
        return reasons[0]

    async def _serve(self) -> str:
        """Roll out one group after the other."""
        while True:
            try:
                lease = await self._source.lease(self._config.group_size, LEASE_WAIT_S)
                if lease is not None:
                    await self._roll_out(lease)
            except QueueClosedError as closed:
                return str(closed)
            except StaleAttemptError:
                # The trainer was started again, so the prompts leased from the earlier attempt are void.
                continue

    async def _roll_out(self, lease: Lease) -> None:
        prompts = [prompt.token_ids for prompt in lease.prompts]
        check_lengths(prompts, self._config.max_new_tokens, self._max_tokens, "the shorter of both models")
        version = await self._enter(lease.attempt, max(prompt.min_version for prompt in lease.prompts))
        try:
            group = Group(self._write, self._teacher, self._policy, self._budget)
            rollouts = await group.roll_out(lease.prompts)
        except NonFiniteError as error:
            rate = self._learning_rate_before(version)
            raise NonFiniteError(explained(error, self._engine.weights(), version, rate)) from error
        finally:
            await self._leave(lease.prompts)
        blobs = {
            rollout.prompt.id: encode_rollouts([replace(rollout, weights_version=version)])
            for rollout in rollouts
        }
        await self._source.put(lease.attempt, blobs)

    async def _enter(self, attempt: str, min_version: int) -> int:
        """Start a group with the newest weights if no group is under way, and otherwise with the loaded weights.

        If the loaded weights are too old for this group, it waits until the other groups have ended, and the weights
        are changed. Returns the version of the weights.
        """
        async with self._gate:
            if self._num_active and self._loaded is not None:
                loaded_attempt, loaded_version = self._loaded
                if loaded_attempt != attempt or loaded_version < min_version:
                    await self._idle.wait()
            if not self._num_active:
                await self._pull(attempt, min_version)
            self._num_active += 1
            self._idle.clear()
            assert self._loaded is not None
            return self._loaded[1]

    async def _pull(self, attempt: str, min_version: int) -> None:
        newest = await self._source.newest_weights(attempt, min_version)
        if self._loaded != (attempt, newest.version):
            weights = await newest.fetch()
            await self._in_thread(self._engine.load_weights, weights)
            self._loaded = (attempt, newest.version)

    async def _leave(self, prompts: Sequence[Prompt]) -> None:
        self._num_active -= 1
        if not self._num_active:
            self._idle.set()
        await self._in_thread(self._engine.forget, [prompt.id for prompt in prompts])

    async def _write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        return await self._in_thread(self._engine.write, requests)

    async def _in_thread(self, function: Callable[[Argument], Result], argument: Argument) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, argument)
