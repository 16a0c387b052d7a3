"""Policies where the student goes on after the teacher: speculative KD, and relay, which is ours.

The student proposes a chunk, the teacher scores it, and the first token that may not stay ends the accepted part:
what comes after it is thrown away. The student's token at a place depends on what is before it alone, so the
result is token for token that of judging after every token.

A rollout's ``max_teacher_tokens`` does not cut it short: once they are spent, the student goes on alone.
"""

from adaswitch.config.policy import RelayPolicyConfig, SKDPolicyConfig
from adaswitch.method.draft import RolloutDraft
from adaswitch.method.policies.stages import explore, guide
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Student, Teacher
from adaswitch.method.rollout import Rollout
from adaswitch.method.switching import (
    AmongTopK,
    FixedThreshold,
    NeverSwitch,
    ProbableEnough,
    SwitchRule,
    TokenRule,
)


async def skd(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: SKDPolicyConfig
) -> Rollout:
    """Speculative KD (arXiv 2410.11325): the teacher samples anew what is not among its top-k."""
    draft = RolloutDraft(prompt, budget)
    rule = AmongTopK(config.accept_top_k)
    return await _take_turns(draft, student, teacher, rule, config.chunk_size, guide_tokens=1)


async def relay(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: RelayPolicyConfig
) -> Rollout:
    """Ours: the teacher takes over where the judge says so, and hands back after ``guide_tokens`` tokens."""
    draft = RolloutDraft(prompt, budget)
    return await _take_turns(draft, student, teacher, judge(config), config.chunk_size, config.guide_tokens)


def judge(config: RelayPolicyConfig) -> SwitchRule | TokenRule:
    """The rule that ``config`` names."""
    if config.tau is not None:
        return FixedThreshold(config.tau)
    if config.accept_top_k is not None:
        return AmongTopK(config.accept_top_k)
    assert config.min_probability is not None  # or it is no valid config
    return ProbableEnough(config.min_probability)


async def _take_turns(
    draft: RolloutDraft,
    student: Student,
    teacher: Teacher,
    rule: SwitchRule | TokenRule,
    chunk_size: int,
    guide_tokens: int,
) -> Rollout:
    while not draft.ended:
        if draft.num_left_for_teacher == 0:
            await explore(draft, student, teacher, NeverSwitch(), "forward_kl", draft.num_left)
        elif await explore(draft, student, teacher, rule, "forward_kl", chunk_size):
            await guide(draft, teacher, guide_tokens)
    return draft.finish()
