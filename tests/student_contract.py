"""What every engine of the student must do, whichever library runs the model: used by the tests of each."""

from collections.abc import Callable, Sequence

import torch
from hypothesis import strategies as st

from adaswitch.method.prompt import Prompt
from adaswitch.method.sampling import Place, gumbel_noise
from services.student.engines.engine import WriteRequest
from tests.teacher_models import VOCAB_SIZE, Reference

SEED, TEMPERATURE, STOP = 7, 0.8, 3
LENGTH = 12
PROMPTS = [*(Prompt(i, tuple(range(4, 6 + 3 * i))) for i in range(4)), Prompt(4, (8, 5, 6), greedy=True)]

Write = Callable[[Sequence[WriteRequest]], Sequence[list[int]]]
"""The tokens of a chunk for each request."""


def rows_of(reference: Reference, prompt: Prompt, before: list[int], new: list[int]) -> torch.Tensor:
    """The distributions from which ``new`` was drawn, by one plain forward pass."""
    token_ids = [*prompt.token_ids, *before, *new]
    return torch.from_numpy(reference.rows(token_ids))[len(token_ids) - len(new) - 1 : -1]


def drawn(rows: torch.Tensor, prompt: Prompt, start: int) -> list[int]:
    """The tokens that belong to these rows, by the definition of a draw."""
    if prompt.greedy:
        return rows.argmax(-1).tolist()
    return [
        int((row / TEMPERATURE + gumbel_noise([Place(SEED, prompt.id, start + j)], VOCAB_SIZE)[0]).argmax())
        for j, row in enumerate(rows)
    ]


def check_any_way_of_writing(write: Write, reference: Reference, data: st.DataObject) -> None:
    """In any number of chunks of any size, in batches of any prompts in any order, others' tokens in between."""
    written: dict[int, list[int]] = {prompt.id: [] for prompt in PROMPTS}
    while unfinished := [p for p in PROMPTS if len(written[p.id]) < LENGTH and STOP not in written[p.id]]:
        batch = data.draw(st.lists(st.sampled_from(unfinished), min_size=1, unique=True))
        left = [LENGTH - len(written[prompt.id]) for prompt in batch]
        sizes = [data.draw(st.integers(1, most)) for most in left]
        requests = [
            WriteRequest(prompt, tuple(written[prompt.id]), size)
            for prompt, size in zip(batch, sizes, strict=True)
        ]
        for request, token_ids in zip(requests, write(requests), strict=True):
            before = written[request.prompt.id]
            rows = rows_of(reference, request.prompt, before, token_ids)
            assert token_ids == drawn(rows, request.prompt, len(before))
            assert len(token_ids) == request.num_tokens or token_ids[-1] == STOP
            before += token_ids
            if data.draw(st.booleans()):
                before[-1:] = data.draw(st.lists(st.integers(4, 9), max_size=3))


def expected_outcomes(rows: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The log-probabilities of ``ids [n, k]`` and of all others in float64, from ``rows [n, V]``."""
    rows = rows.double()
    others = rows.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([rows.gather(-1, ids), others], -1)
