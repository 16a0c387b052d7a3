"""The rollout policies: who writes a completion. ← To change the rollout, change or add one here.

Notation (arXiv 2510.07842): p_i and q_i are the teacher's and the student's next-token distributions at step i,
d_i = D(p_i || q_i), known before token y_i is chosen.
"""

from adaswitch.config.student import AdaSwitchPolicyConfig, OffPolicyConfig, OnPolicyConfig, PolicyConfig
from adaswitch.divergence import divergences
from adaswitch.draft import RolloutDraft
from adaswitch.roles import Budget, Student, Teacher
from adaswitch.rollout import Prompt, Rollout
from adaswitch.switching import AdaptiveThreshold, NeverSwitch, SwitchRule, first_crossing


async def adaswitch(
    prompt: Prompt, student: Student, teacher: Teacher, budget: Budget, config: AdaSwitchPolicyConfig
) -> Rollout:
    """AdaSwitch: the student explores until its divergence is too large, then the teacher guides to the end."""
    draft = RolloutDraft(prompt, budget)
    rule = AdaptiveThreshold(config.window, config.factor, config.floor)
    crossed = await explore(draft, student, teacher, rule, config.metric, config.chunk_size)
    if crossed:
        await guide(draft, teacher)
    return draft.finish()


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


async def explore(
    draft: RolloutDraft, student: Student, teacher: Teacher, rule: SwitchRule, metric: str, chunk_size: int
) -> bool:
    """Exploration: the student writes, chunk by chunk, up to the first d_i > tau_i. True if there was one.

    What the student writes before the switch does not depend on the teacher. So a whole chunk may be written
    first and scored in one request: cut at the crossing, it is token for token what asking after every token
    would have given.
    """
    while not draft.ended:
        size = min(chunk_size, draft.num_left)
        with draft.waiting("write_s"):
            chunk = await student.write(draft.prompt, draft.token_ids, size)
        with draft.waiting("score_s"):
            scores = await teacher.score(
                draft.prompt, draft.token_ids + chunk.token_ids, start=len(draft.token_ids)
            )
        new = divergences(metric, scores, chunk.logprobs)
        crossing, thresholds = first_crossing(rule, draft.divergences, new)
        draft.add_explored(chunk, scores, new, thresholds, crossing)
        if crossing is not None:
            return True
    return False


async def guide(draft: RolloutDraft, teacher: Teacher) -> None:
    """Guidance: the teacher writes from here to the end."""
    with draft.waiting("generate_s"):
        continuation = await teacher.generate(draft.prompt, draft.token_ids, draft.num_left)
    draft.add_guided(continuation)


async def run_policy(
    config: PolicyConfig, prompt: Prompt, student: Student, teacher: Teacher, budget: Budget
) -> Rollout:
    """The rollout of ``prompt`` by the policy that ``config`` chooses."""
    match config:
        case AdaSwitchPolicyConfig():
            return await adaswitch(prompt, student, teacher, budget, config)
        case OnPolicyConfig():
            return await on_policy(prompt, student, teacher, budget, config)
        case OffPolicyConfig():
            return await off_policy(prompt, student, teacher, budget, config)
