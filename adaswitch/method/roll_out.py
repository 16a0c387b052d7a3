"""``roll_out``: makes a rollout of one prompt by one policy."""

from adaswitch.method.draft import RolloutDraft
from adaswitch.method.policies.base import Policy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Student, Teacher
from adaswitch.method.rollout import Rollout
from adaswitch.method.stages import Stages


async def roll_out(
    policy: Policy, prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, auto_ahead: int = 0
) -> Rollout:
    """The rollout of ``prompt`` by ``policy``. ``auto_ahead`` is what ``write_ahead: auto`` of a policy comes to."""
    num_ahead = auto_ahead if policy.chunks_ahead == "auto" else policy.chunks_ahead
    stages = Stages(RolloutDraft(prompt, budget), student, teacher, num_ahead)
    await policy.roll_out(stages)
    return stages.draft.finish()
