"""AdaSwitch (arXiv 2510.07842).

p_i and q_i are the teacher's and the student's next-token distributions at step i, d_i = D(p_i || q_i) is known
before token y_i is chosen.
"""

from adaswitch.config.policy import AdaSwitchPolicyConfig
from adaswitch.method.draft import RolloutDraft
from adaswitch.method.policies.stages import explore, guide
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Student, Teacher
from adaswitch.method.rollout import Rollout
from adaswitch.method.switching import AdaptiveThreshold


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
