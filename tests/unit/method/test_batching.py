"""Batches: the one shift between tokens and predictions, masks, positions, and mixed lengths."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adaswitch.method.batching import Batch, make_batch
from adaswitch.method.packing import sized_rows
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Rollout
from tests.fakes import random_rollout

V = 11
LENGTHS = [(3, 4, 3), (1, 0, 5), (6, 2, 0), (2, 1, 1)]


def rollouts() -> list[Rollout]:
    return [
        random_rollout(i, num_prompt=prompt, num_student=student, num_teacher=teacher)
        for i, (prompt, student, teacher) in enumerate(LENGTHS)
    ]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V + 2,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    ).eval()


def forward(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            logits_to_keep=batch.num_completion_columns + 1,
        ).logits
    return batch.completion_logits(logits)


def test_a_row_is_what_the_model_says_before_its_token(model: LlamaForCausalLM) -> None:
    expected = []
    for rollout in rollouts():
        for j in range(rollout.num_tokens):
            so_far = rollout.prompt.token_ids + rollout.completion_token_ids[:j]
            with torch.inference_mode():
                expected.append(model(input_ids=torch.tensor([so_far])).logits[0, -1])
    actual = forward(model, make_batch(rollouts()))
    torch.testing.assert_close(actual, torch.stack(expected), rtol=0, atol=1e-5)
    # Neighbouring rows differ, so that a shift by one would be seen.
    assert (actual[1:] - actual[:-1]).abs().max(-1).values.min() > 1e-2


def test_the_layout_by_hand() -> None:
    one, two = (
        random_rollout(0, num_student=1, num_teacher=2),
        random_rollout(1, num_student=2, num_teacher=0),
    )
    one = replace(one, prompt=Prompt(0, (5, 6, 7)), completion_token_ids=(1, 2, 3))
    two = replace(two, prompt=Prompt(1, (8,)), completion_token_ids=(9, 10))
    batch = make_batch([one, two])
    assert batch.input_ids.tolist() == [[5, 6, 7, 1, 2, 3], [0, 0, 8, 9, 10, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 0]]
    assert batch.position_ids[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.position_ids[1, 2:5].tolist() == [0, 1, 2]
    assert batch.row.tolist() == [0, 0, 0, 1, 1]
    assert batch.column.tolist() == [0, 1, 2, 0, 1]
    assert batch.token_ids.tolist() == [1, 2, 3, 9, 10]
    assert batch.by_teacher.tolist() == [False, True, True, False, False]
    assert (batch.num_tokens, batch.num_completion_columns, batch.vocab_size) == (5, 3, V)
    # The logits of the last prompt column come first; those of the last token are not used.
    logits = torch.arange(8).reshape(2, 4, 1)
    assert batch.completion_logits(logits).flatten().tolist() == [0, 1, 2, 4, 5]


def test_teacher_rows_stay_with_their_tokens() -> None:
    batch = make_batch(rollouts())
    start = 0
    for rollout in rollouts():
        stop = start + rollout.num_tokens
        assert torch.equal(batch.top_ids[start:stop], rollout.teacher.ids)
        assert torch.equal(batch.teacher_logprobs[start:stop], rollout.teacher.outcome_logprobs())
        assert batch.token_ids[start:stop].tolist() == list(rollout.completion_token_ids)
        assert batch.by_teacher[start:stop].tolist() == rollout.by_teacher.tolist()
        start = stop
    assert start == batch.num_tokens


def test_neighbours_and_padding_change_nothing(model: LlamaForCausalLM) -> None:
    together = forward(model, make_batch(rollouts()))
    alone = torch.cat([forward(model, make_batch([rollout])) for rollout in rollouts()])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_micro_batches_are_all_rollouts_in_order(size: int) -> None:
    whole, parts = make_batch(rollouts()), [make_batch(row) for row in sized_rows(rollouts(), size)]
    assert len(parts) == -(-len(LENGTHS) // size)
    for name in ("token_ids", "top_ids", "teacher_logprobs", "by_teacher"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name)), name


def test_a_batch_moves_as_a_whole() -> None:
    batch = make_batch(rollouts())
    moved = batch.to("meta")
    tensors = {name for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    assert len(tensors) == 11
    assert {name for name in tensors if getattr(moved, name).device.type == "meta"} == tensors
    assert moved.num_completion_columns == batch.num_completion_columns


@pytest.mark.parametrize("other", [{"k": 5}, {"vocab_size": 12}])
def test_rollouts_of_different_teachers_are_not_put_together(other: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="cannot join"):
        make_batch([random_rollout(0), random_rollout(1, **other)])


def test_a_rollout_without_a_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="without a prompt"):
        make_batch([random_rollout(0), random_rollout(1, num_prompt=0)])
