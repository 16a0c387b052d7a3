"""``StudentWorker``: leases prompts, pulls weights, rolls out, puts rollouts. A plain class that knows nothing of Ray.

In lockstep several groups are under way at once: while one group waits for the teacher, another group writes. Without
lockstep each prompt is rolled out and put by itself, and the next prompt takes its place.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from adaswitch.cluster.rollout_queue import Lease
from adaswitch.config.student import StudentConfig
from adaswitch.contract.completion_codec import encode_completion
from adaswitch.contract.rollout_codec import encode_rollouts
from adaswitch.data.models import check_lengths
from adaswitch.errors import ConfigError, NonFiniteError, QueueClosedError, StaleAttemptError
from adaswitch.method.finite import explained
from adaswitch.method.policies.base import Policy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget
from adaswitch.method.rollout import Rollout
from services.student.engine_calls import calls_of
from services.student.engines.engine import ContinuousEngine, StudentEngine, batches_by_itself
from services.student.figures import StudentFigures
from services.student.group import Group
from services.student.loaded_weights import LoadedWeights, Weights
from services.student.slots import Slots
from services.student.solo import Solo
from services.student.teacher_calls import TeacherCalls
from services.student.unaided import write_unaided
from services.student.whole_weights import WholeWeights

LEASE_WAIT_S = 10.0
"""The number of seconds that one call waits for prompts before the call is made again."""

RollOut = Callable[[Sequence[Prompt]], Coroutine[Any, Any, list[Rollout]]]
"""Makes one rollout for each prompt."""


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
        engine: StudentEngine | ContinuousEngine,
        teacher: TeacherCalls,
        config: StudentConfig,
        policy: Policy,
        stop_token_ids: Sequence[int],
        max_tokens: int,
        learning_rate_before: Callable[[int], float | None] = lambda version: None,
        figures: StudentFigures | None = None,
    ) -> None:
        """``max_tokens`` is the longest sequence that both models take.

        ``learning_rate_before(version)`` is the rate of the update that made the weights of ``version``, for messages.
        ``figures`` count what is done, for Prometheus.
        Raises ``ConfigError`` if ``student.lockstep`` is false and the engine writes whole batches only.
        """
        self._source = source
        self._figures = figures or StudentFigures()
        self._engine = calls_of(engine, self._figures.writing)
        self._teacher = teacher
        self._config = config
        self._policy = policy
        self._budget = Budget(config.max_new_tokens, frozenset(stop_token_ids))
        self._max_tokens = max_tokens
        self._learning_rate_before = learning_rate_before
        self._whole = WholeWeights(config.model, config.dtype)
        self._weights = LoadedWeights(source.newest_weights, self._load)
        self._solo: Solo | None = None
        if batches_by_itself(engine):
            if config.lockstep is not True:
                self._solo = Solo(engine, teacher, config, policy, self._budget, self._figures.writing)
        elif config.lockstep is False:
            raise ConfigError(
                "student.lockstep: false needs an engine that batches by itself; the engine transformers writes whole "
                "batches: leave student.lockstep out, or take student.engine vllm"
            )

    async def run(self) -> str:
        """Roll out until the run is over. Returns why the run is over."""
        if self._solo is not None:
            serving = [asyncio.create_task(self._serve_prompts(self._solo))]
        else:
            serving = [asyncio.create_task(self._serve_groups()) for _ in range(self._config.num_groups)]
        try:
            reasons = await asyncio.gather(*serving)
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            self._engine.close()
        return reasons[0]

    async def _serve_groups(self) -> str:
        """Roll out one group after the other."""
        while True:
            try:
                lease = await self._source.lease(self._config.group_size, LEASE_WAIT_S)
                if lease is not None:
                    group = Group(self._engine.write, self._teacher, self._policy, self._budget)
                    await self._roll_out(lease.attempt, lease.prompts, group.roll_out)
            except QueueClosedError as closed:
                return str(closed)
            except StaleAttemptError:
                # The trainer was started again, so the prompts leased from the earlier attempt are void.
                continue

    async def _serve_prompts(self, solo: Solo) -> str:
        """Roll out prompts, each by itself."""

        async def lease(room: int) -> Lease | None:
            return await self._source.lease(min(room, self._config.group_size), LEASE_WAIT_S)

        async def one(attempt: str, prompt: Prompt) -> None:
            await self._roll_out(attempt, [prompt], solo.roll_out)

        try:
            return await Slots(self._config.num_groups * self._config.group_size, lease, one).run()
        finally:
            await solo.ended()

    async def _roll_out(self, attempt: str, prompts: Sequence[Prompt], roll_out: RollOut) -> None:
        """Roll out ``prompts``, all with one version of the weights, and put the rollouts."""
        token_ids = [prompt.token_ids for prompt in prompts]
        check_lengths(token_ids, self._config.max_new_tokens, self._max_tokens, "the shorter of both models")
        version = await self._weights.enter(attempt, max(prompt.min_version for prompt in prompts))
        self._figures.version = version
        self._figures.num_in_flight += len(prompts)
        try:
            rollouts, blobs = await self._made(prompts, roll_out, version)
        except NonFiniteError as error:
            rate = self._learning_rate_before(version)
            raise NonFiniteError(explained(error, self._engine.weights(), version, rate)) from error
        finally:
            self._figures.num_in_flight -= len(prompts)
            await self._leave(prompts)
        self._figures.made(rollouts)
        await self._source.put(attempt, blobs)

    async def _made(
        self, prompts: Sequence[Prompt], roll_out: RollOut, version: int
    ) -> tuple[list[Rollout], dict[int, bytes]]:
        """What was made of ``prompts``: rollouts, of which an evaluation has none, and bytes by prompt id."""
        if prompts[0].greedy:
            texts = await write_unaided(self._engine.write, prompts, self._budget)
            pairs = zip(prompts, texts, strict=True)
            return [], {prompt.id: encode_completion(text, version) for prompt, text in pairs}
        rollouts = [replace(rollout, weights_version=version) for rollout in await roll_out(prompts)]
        return rollouts, {rollout.prompt.id: encode_rollouts([rollout]) for rollout in rollouts}

    async def _load(self, published: Mapping[str, Tensor]) -> None:
        """Load published weights, or adapters merged with the folder's weights, into the engine."""
        await self._engine.load_weights(await asyncio.to_thread(self._whole.of, published))

    async def _leave(self, prompts: Sequence[Prompt]) -> None:
        try:
            await self._engine.forget([prompt.id for prompt in prompts])
        finally:
            self._weights.leave()
