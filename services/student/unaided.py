"""Completions that the student writes by itself, for an evaluation: no policy, no teacher, no random numbers."""

from collections.abc import Sequence

import torch

from adaswitch.errors import NonFiniteError
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk
from services.student.engines.engine import WriteRequest
from services.student.group import Write


async def write_unaided(write: Write, prompts: Sequence[Prompt], budget: Budget) -> list[list[int]]:
    """The completions of ``prompts``, which are ``greedy``, each up to and including the token that ends it.

    Raises ``NonFiniteError`` for logits from which no token can be chosen.
    """
    texts: list[list[int]] = [[] for _ in prompts]
    under_way = list(range(len(prompts)))
    while under_way:
        requests = [
            WriteRequest(prompts[i], tuple(texts[i]), budget.max_new_tokens - len(texts[i]))
            for i in under_way
        ]
        for i, chunk in zip(under_way, await write(requests), strict=True):
            await _check_finite(chunk)
            texts[i] += chunk.token_ids
        # A chunk may be shorter than what was asked for, where the engine has no room to keep more.
        under_way = [i for i in under_way if not budget.ends(texts[i])]
    return texts


async def _check_finite(chunk: Chunk) -> None:
    ids = torch.tensor(chunk.token_ids).unsqueeze(-1)
    if not bool((await chunk.rows.outcomes(ids))[:, 0].isfinite().all()):
        raise NonFiniteError("the model's logits are not finite")
