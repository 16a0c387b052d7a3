"""AdaSwitch with another rule in its place: a fixed threshold, one on a shared scale (ours), a place that was drawn."""

from adaswitch.config.policy import (
    RandomSwitchPolicyConfig,
    SharedScalePolicyConfig,
    ThresholdPolicyConfig,
)
from adaswitch.method.draft import RolloutDraft
from adaswitch.method.policies.coins import coin_of
from adaswitch.method.policies.stages import explore, guide
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Student, Teacher
from adaswitch.method.rollout import Rollout
from adaswitch.method.sampling import switch_place
from adaswitch.method.switching import FixedThreshold, NeverSwitch, SharedScaleThreshold, SwitchAt


async def threshold(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: ThresholdPolicyConfig
) -> Rollout:
    """The student explores until its divergence exceeds a fixed tau, then the teacher guides to the end."""
    draft = RolloutDraft(prompt, budget)
    rule = FixedThreshold(config.tau)
    if await explore(draft, student, teacher, rule, config.metric, config.chunk_size):
        await guide(draft, teacher)
    return draft.finish()


async def shared_scale(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: SharedScalePolicyConfig
) -> Rollout:
    """Ours: the threshold is on the scale that the prompt comes with, which all prompts of its step share."""
    draft = RolloutDraft(prompt, budget)
    rule = SharedScaleThreshold(config.factor, prompt.divergence_scale, config.floor)
    if await explore(draft, student, teacher, rule, config.metric, config.chunk_size):
        await guide(draft, teacher)
    return draft.finish()


async def random_switch(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: RandomSwitchPolicyConfig
) -> Rollout:
    """The student writes up to a place that the prompt's coin draws, the teacher from there to the end.

    A completion of the student's that ends before that place has no switch.
    """
    if config.positions is None:
        raise ValueError("policy.from_run has not been resolved: see adaswitch.runs.recorded.resolve_config")
    place = switch_place(config.positions, coin_of(prompt))
    draft = RolloutDraft(prompt, budget)
    rule = NeverSwitch() if place is None else SwitchAt(place)
    # The place is known: the student writes up to it at once, and the one token that shows its divergence there.
    chunk_size = budget.max_new_tokens if place is None else place + 1
    if await explore(draft, student, teacher, rule, "forward_kl", chunk_size):
        await guide(draft, teacher)
    return draft.finish()
