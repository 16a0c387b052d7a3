"""``Solo``: rolls out prompts, each by itself. It is the ``Student`` and the ``Teacher`` of each rollout.

Each rollout goes on as soon as its own answer is there: the student's engine batches by itself, and the teacher's
requests are gathered for a moment.
"""

from collections.abc import Collection, Sequence

from adaswitch.config.student import StudentConfig
from adaswitch.method.distribution import TopK
from adaswitch.method.policies.base import Policy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk, Continuation
from adaswitch.method.roll_out import roll_out
from adaswitch.method.rollout import Rollout
from services.student.engine_calls import all_of
from services.student.engines.engine import ContinuousEngine, WriteRequest
from services.student.figures import Busy
from services.student.gather import Gather
from services.student.lockstep import Kind
from services.student.teacher_calls import TeacherCalls, TeacherRequest

AUTO_AHEAD = 1
"""What ``policy.write_ahead: auto`` comes to: one chunk is being written while one is scored."""


class Solo:
    """Any number of prompts may be under way at once."""

    def __init__(
        self,
        engine: ContinuousEngine,
        teacher: TeacherCalls,
        config: StudentConfig,
        policy: Policy,
        budget: Budget,
        writing: Busy,
    ) -> None:
        """``writing`` counts the time in which ``engine`` is at work."""
        self._engine = engine
        self._writing = writing
        self._score = Gather(Kind("score", teacher.score), config.gather_window_s, config.gather_requests)
        self._generate = Gather(
            Kind("generate", teacher.generate), config.gather_window_s, config.gather_requests
        )
        self._policy = policy
        self._budget = budget

    async def roll_out(self, prompts: Sequence[Prompt]) -> list[Rollout]:
        """One rollout for each prompt, in the order of ``prompts``. The first error ends them all."""
        return await all_of([self._one(prompt) for prompt in prompts])

    async def _one(self, prompt: Prompt) -> Rollout:
        return await roll_out(self._policy, prompt, self, self, self._budget, AUTO_AHEAD)

    async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
        """See ``adaswitch.method.roles.Student``."""
        with self._writing:
            return await self._engine.write(WriteRequest(prompt, tuple(completion), num_tokens))

    async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
        """See ``adaswitch.method.roles.Teacher``."""
        distributions: TopK = await self._score.ask(TeacherRequest(prompt, tuple(completion), start=start))
        return distributions

    async def generate(
        self, prompt: Prompt, completion: Sequence[int], num_tokens: int, end_token_ids: Collection[int] = ()
    ) -> Continuation:
        """See ``adaswitch.method.roles.Teacher``."""
        ends = frozenset(end_token_ids)
        request = TeacherRequest(prompt, tuple(completion), num_tokens=num_tokens, end_token_ids=ends)
        continuation: Continuation = await self._generate.ask(request)
        return continuation

    async def ended(self) -> None:
        """Wait until no request is under way. Called after the last rollout."""
        await self._score.ended()
        await self._generate.ended()
