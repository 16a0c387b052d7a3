"""Policies where one side writes all of a completion."""

from adaswitch.config.policy import (
    DatasetPolicyConfig,
    MixedPolicyConfig,
    OffPolicyConfig,
    OnPolicyConfig,
)
from adaswitch.method.draft import RolloutDraft
from adaswitch.method.policies.coins import coin_of
from adaswitch.method.policies.stages import explore, guide, recite
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Student, Teacher
from adaswitch.method.rollout import Rollout
from adaswitch.method.switching import NeverSwitch


async def on_policy(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: OnPolicyConfig
) -> Rollout:
    """The student writes all of it: AdaSwitch that never switches."""
    draft = RolloutDraft(prompt, budget)
    await explore(draft, student, teacher, NeverSwitch(), "forward_kl", budget.max_new_tokens)
    return draft.finish()


async def off_policy(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: OffPolicyConfig
) -> Rollout:
    """The teacher writes all of it: AdaSwitch that switches at the first step."""
    draft = RolloutDraft(prompt, budget)
    await guide(draft, teacher)
    return draft.finish()


async def dataset(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: DatasetPolicyConfig
) -> Rollout:
    """The data set's own answer. Raises ``DataError`` for a prompt that comes without one."""
    draft = RolloutDraft(prompt, budget)
    await recite(draft, teacher)
    return draft.finish()


async def mixed(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: MixedPolicyConfig
) -> Rollout:
    """GKD (arXiv 2306.13649): the student with probability lambda, else the teacher or the data set."""
    if coin_of(prompt) < config.student_fraction:
        return await on_policy(prompt, student, teacher, budget, OnPolicyConfig())
    if config.other == "teacher":
        return await off_policy(prompt, student, teacher, budget, OffPolicyConfig())
    return await dataset(prompt, student, teacher, budget, DatasetPolicyConfig())
