"""A student writes by itself: chunk after chunk to each text's own end, and nothing that is not finite."""

from collections.abc import Sequence

import pytest
import torch

from adaswitch.errors import NonFiniteError
from adaswitch.method.kept_logits import KeptLogits
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk
from services.student.engines.engine import WriteRequest
from services.student.unaided import write_unaided

V, STOP = 10, 9
PROMPTS = [Prompt(i, (i,), greedy=True) for i in (4, 7, 1)]


class Counter:
    """Counts on from a prompt's token, two tokens a call at most."""

    def __init__(self, logit: float = 0.0) -> None:
        self._logit = logit
        self.calls: list[list[int]] = []

    async def write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        self.calls.append([request.prompt.id for request in requests])
        return [self._chunk(request) for request in requests]

    def _chunk(self, request: WriteRequest) -> Chunk:
        first = request.prompt.id + 1 + len(request.completion)
        token_ids = list(range(first, min(first + min(2, request.num_tokens), STOP + 1)))
        return Chunk(token_ids, KeptLogits(torch.full((len(token_ids), V), self._logit)))


async def test_each_text_goes_on_until_its_own_end() -> None:
    counter = Counter()
    texts = await write_unaided(counter.write, PROMPTS, Budget(5, frozenset([STOP])))
    assert texts == [[5, 6, 7, 8, 9], [8, 9], [2, 3, 4, 5, 6]]
    assert counter.calls == [[4, 7, 1], [4, 1], [4, 1]]


@pytest.mark.parametrize("logit", [float("nan"), float("inf")])
async def test_logits_that_are_not_finite_are_an_error(logit: float) -> None:
    with pytest.raises(NonFiniteError, match="the model's logits are not finite"):
        await write_unaided(Counter(logit).write, PROMPTS, Budget(5, frozenset([STOP])))
