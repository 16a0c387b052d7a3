"""Micro-batches by tokens: what goes together, and how a packed row is laid out."""

from dataclasses import replace

import pytest
import torch

from adaswitch.method.batching import make_batch, make_packed_batch
from adaswitch.method.packing import num_all_tokens, packed_rows, padded_rows
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Rollout
from tests.fakes import random_rollout


def of_lengths(*lengths: int) -> list[Rollout]:
    return [random_rollout(i, num_prompt=1, num_student=n - 1, num_teacher=0) for i, n in enumerate(lengths)]


def ids(rows: list[list[Rollout]]) -> list[list[int]]:
    return [[rollout.prompt.id for rollout in row] for row in rows]


def test_first_fit_decreasing_by_hand() -> None:
    assert ids(packed_rows(of_lengths(4, 8, 1, 4, 2, 1), 10)) == [[1, 4], [0, 3, 2, 5]]
    # Those of the same length stay in their order.
    assert ids(packed_rows(of_lengths(5, 5, 5), 10)) == [[0, 1], [2]]
    # Longer than a row: alone.
    assert ids(packed_rows(of_lengths(3, 12), 10)) == [[1], [0]]
    assert ids(padded_rows(of_lengths(4, 8, 3, 4, 2), 10)) == [[1], [0, 3], [2, 4]]


@pytest.mark.parametrize("rows_of", [packed_rows, padded_rows])
def test_every_rollout_is_in_one_row_and_no_row_is_too_long(rows_of) -> None:
    generator = torch.Generator().manual_seed(1)
    for max_tokens in (30, 64, 200):
        rollouts = of_lengths(*(torch.randint(2, 31, (40,), generator=generator) + 0).tolist())
        rows = rows_of(rollouts, max_tokens)
        assert sorted(i for row in ids(rows) for i in row) == list(range(40))
        for row in rows:
            real = sum(map(num_all_tokens, row))
            padded = make_batch(row).input_ids.numel()
            assert (real if rows_of is packed_rows else padded) <= max_tokens


def test_a_packed_row_by_hand() -> None:
    one, two = (
        random_rollout(0, num_student=1, num_teacher=2),
        random_rollout(1, num_student=2, num_teacher=0),
    )
    one = replace(one, prompt=Prompt(0, (5, 6, 7)), completion_token_ids=(1, 2, 3))
    two = replace(two, prompt=Prompt(1, (8,)), completion_token_ids=(9, 10))
    batch = make_packed_batch([one, two])
    assert batch.input_ids.tolist() == [[5, 6, 7, 1, 2, 3, 8, 9, 10]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2]]
    assert batch.attention_mask is None
    assert batch.outputs.tolist() == [2, 3, 4, 6, 7]
    assert (batch.num_tokens, batch.num_kept) == (5, 9)
    assert batch.completion_logits(torch.arange(9).reshape(1, 9, 1)).flatten().tolist() == [2, 3, 4, 6, 7]
    padded = make_batch([one, two])
    for name in ("row", "column", "token_ids", "top_ids", "teacher_logprobs", "by_teacher"):
        assert torch.equal(getattr(batch, name), getattr(padded, name)), name
    assert batch.num_completion_columns == padded.num_completion_columns
    assert batch.to("meta").attention_mask is None
    with pytest.raises(ValueError, match="without a prompt"):
        make_packed_batch([one, random_rollout(1, num_prompt=0)])
