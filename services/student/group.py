"""``Group``: rolls out the prompts of one lease together. It is the ``Student`` and the ``Teacher`` of each rollout."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from adaswitch.method.distribution import TopK
from adaswitch.method.policies.base import Policy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk, Continuation
from adaswitch.method.roll_out import roll_out
from adaswitch.method.rollout import Rollout
from services.student.engines.engine import WriteRequest
from services.student.lockstep import Kind, Lockstep
from services.student.teacher_calls import TeacherCalls, TeacherRequest

Write = Callable[[Sequence[WriteRequest]], Awaitable[list[Chunk]]]
"""A call of the student's engine that does not block the event loop."""


class Group:
    """A group is used once: ``await Group(...).roll_out(prompts)``."""

    def __init__(self, write: Write, teacher: TeacherCalls, policy: Policy, budget: Budget) -> None:
        self._write = Kind("write", write)
        self._score = Kind("score", teacher.score)
        # If guidance ends a rollout, the group need not wait for it. If the student goes on after guidance, the other
        # rollouts wait. Otherwise timing would decide which rollouts are in one batch, and with the batch the last
        # bits of the numbers.
        self._generate = Kind("generate", teacher.generate, holds_up=policy.hands_back)
        self._policy = policy
        self._budget = budget
        self._lockstep = Lockstep(0)

    async def roll_out(self, prompts: Sequence[Prompt]) -> list[Rollout]:
        """One rollout for each prompt, in the order of ``prompts``. The first error ends the group."""
        self._lockstep = Lockstep(len(prompts))
        rollouts = [asyncio.create_task(self._one(prompt)) for prompt in prompts]
        try:
            return await asyncio.gather(*rollouts)
        finally:
            for rollout in rollouts:
                rollout.cancel()
            await asyncio.gather(*rollouts, return_exceptions=True)
            await self._lockstep.cancel()

    async def _one(self, prompt: Prompt) -> Rollout:
        try:
            return await roll_out(self._policy, prompt, self, self, self._budget)
        finally:
            self._lockstep.leave()

    async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
        """See ``adaswitch.method.roles.Student``."""
        request = WriteRequest(prompt, tuple(completion), num_tokens)
        chunk: Chunk = await self._lockstep.ask(self._write, request, prompt.id)
        return chunk

    async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
        """See ``adaswitch.method.roles.Teacher``."""
        request = TeacherRequest(prompt, tuple(completion), start=start)
        distributions: TopK = await self._lockstep.ask(self._score, request, prompt.id)
        return distributions

    async def generate(
        self, prompt: Prompt, completion: Sequence[int], num_tokens: int, end_token_ids: Collection[int] = ()
    ) -> Continuation:
        """See ``adaswitch.method.roles.Teacher``."""
        ends = frozenset(end_token_ids)
        request = TeacherRequest(prompt, tuple(completion), num_tokens=num_tokens, end_token_ids=ends)
        continuation: Continuation = await self._lockstep.ask(self._generate, request, prompt.id)
        return continuation
