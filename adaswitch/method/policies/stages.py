"""The stages that policies are made of: exploration by the student, guidance by the teacher, a given answer."""

from adaswitch.errors import DataError
from adaswitch.method.divergence import divergences
from adaswitch.method.draft import RolloutDraft
from adaswitch.method.roles import Student, Teacher
from adaswitch.method.switching import SwitchRule, TokenRule, first_switch


async def explore(
    draft: RolloutDraft,
    student: Student,
    teacher: Teacher,
    rule: SwitchRule | TokenRule,
    metric: str,
    chunk_size: int,
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
        crossing, thresholds = first_switch(rule, draft.divergences, new, chunk.token_ids, scores)
        draft.add_explored(chunk, scores, new, thresholds, crossing)
        if crossing is not None:
            return True
    return False


async def guide(draft: RolloutDraft, teacher: Teacher, max_tokens: int | None = None) -> None:
    """Guidance: the teacher writes from here to the end, or ``max_tokens``; no more than its budget allows."""
    num_tokens = draft.num_left_for_teacher
    if max_tokens is not None:
        num_tokens = min(num_tokens, max_tokens)
    with draft.waiting("generate_s"):
        continuation = await teacher.generate(draft.prompt, draft.token_ids, num_tokens)
    draft.add_guided(continuation, num_tokens)


async def recite(draft: RolloutDraft, teacher: Teacher) -> None:
    """The data set's own answer, cut to the budget; the teacher scores it in one request."""
    token_ids = list(draft.prompt.reference_token_ids[: draft.num_left])
    if not token_ids:
        raise DataError(
            f"prompt {draft.prompt.id} comes without a reference, which this policy trains on",
            source="training data",
            line=draft.prompt.record,
        )
    with draft.waiting("score_s"):
        scores = await teacher.score(draft.prompt, token_ids, start=0)
    draft.add_reference(token_ids, scores)
