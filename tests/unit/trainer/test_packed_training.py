"""Training on packed rows: value and gradient against padded ones, and models that cannot be packed."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from adaswitch.method.batching import Batch, make_packed_batch
from tests.unit.trainer.test_forward import SHAPE, STEP, capped, learner, llama, slopes
from trainer import forward

WEIGHTED = {"kind": "jsd", "exploration_weight": 0.5, "temperature": 2.0, "cross_entropy_weight": 0.25}


def sliding() -> MistralForCausalLM:
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=3))


def require_alike(make: Any, settings: dict[str, Any], max_tokens: int = 20) -> tuple[Any, Any]:
    """The same model trained on packed rows and on padded ones has the same loss and gradient."""
    padded, packed = learner(make(), **settings), learner(make(), micro_batch_tokens=max_tokens, **settings)
    expected, found = padded.update(STEP, 0), packed.update(STEP, 0)
    assert found.loss == pytest.approx(expected.loss, abs=1e-5)
    assert found.loss_on_student_tokens == pytest.approx(expected.loss_on_student_tokens, abs=1e-5)
    assert found.loss_on_teacher_tokens == pytest.approx(expected.loss_on_teacher_tokens, abs=1e-5)
    assert (found.num_tokens, slopes(packed).keys()) == (expected.num_tokens, slopes(padded).keys())
    for name, slope in slopes(padded).items():
        torch.testing.assert_close(slopes(packed)[name], slope, rtol=1e-4, atol=1e-6)
    return padded, packed


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("max_tokens", [10, 20, 1000])
def test_packed_rows_train_as_padded_ones(tied: bool, checkpointing: bool, max_tokens: int, capsys) -> None:
    settings = {"loss": WEIGHTED, "gradient_checkpointing": checkpointing}
    _, packed = require_alike(lambda: llama(tied=tied), settings, max_tokens)
    assert capsys.readouterr().out == ""
    assert packed._forward._packs is True


@pytest.mark.parametrize("make", [sliding, capped])
def test_windows_and_whole_logits_are_packed_as_well(make: Any) -> None:
    _, packed = require_alike(make, {"loss": WEIGHTED})
    assert packed._forward._packs is True


def test_rows_are_packed_and_their_positions_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, one = [], learner(llama(), micro_batch_tokens=20)
    one.update(STEP, 0)
    share = forward.Forward.share

    def noted(self: forward.Forward, batch: Batch, total_weight: float) -> Any:
        seen.append(batch)
        return share(self, batch, total_weight)

    monkeypatch.setattr(forward.Forward, "share", noted)
    one.update(STEP, 1)
    assert [tuple(batch.input_ids.shape) for batch in seen] == [(1, 18), (1, 10)]
    for batch in seen:
        steps = [b - a for a, b in pairwise(batch.position_ids[0].tolist())]
        assert all(step == 1 or step < 0 for step in steps)
        assert batch.attention_mask is None


def test_a_mask_of_ones_or_a_cache_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are silently wrong in transformers: the rollouts of a row would see each other."""
    inputs = forward._inputs
    batch = make_packed_batch(STEP)
    assert "attention_mask" not in inputs(batch)
    assert inputs(batch)["use_cache"] is False
    one = learner(llama(), micro_batch_tokens=64)
    with torch.no_grad():
        right = one._forward._hidden(batch)
        for wrong in ({"attention_mask": torch.ones_like(batch.input_ids)}, {"use_cache": True}):
            monkeypatch.setattr(forward, "_inputs", lambda batch, wrong=wrong: inputs(batch) | wrong)
            assert (one._forward._hidden(batch) - right).abs().max() > 1e-2


def bloom() -> BloomForCausalLM:
    torch.manual_seed(0)
    return BloomForCausalLM(BloomConfig(vocab_size=13, hidden_size=16, n_layer=2, n_head=2))


def mamba() -> MambaForCausalLM:
    torch.manual_seed(0)
    return MambaForCausalLM(MambaConfig(vocab_size=13, hidden_size=16, num_hidden_layers=2, state_size=4))


@pytest.mark.parametrize("make", [bloom, mamba])
def test_a_model_that_cannot_be_packed_is_padded_and_that_is_said_once(make: Any, capsys) -> None:
    _, packed = require_alike(make, {"loss": WEIGHTED})
    packed.update(STEP, 1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "packed" in line]
    assert len(lines) == 1
    assert lines[0].startswith(
        "trainer.micro_batch_tokens: this model cannot be packed (two texts in one row"
    )
    assert packed._forward._packs is False
    assert all(batch.input_ids.numel() <= 20 for batch in packed._forward.batches(STEP))


def test_attention_in_chunks_is_packed_only_where_a_row_is_one_chunk() -> None:
    def chunked(size: int) -> PreTrainedModel:
        torch.manual_seed(0)
        return Llama4ForCausalLM(
            Llama4TextConfig(
                **SHAPE, num_local_experts=2, intermediate_size_mlp=16, attention_chunk_size=size
            )
        )

    for size, packs in ((8, False), (64, True)):
        one = learner(chunked(size), micro_batch_tokens=40)
        one.update(STEP, 0)
        assert one._forward._packs is packs


def test_a_model_is_looked_at_when_a_row_has_two_rollouts_first() -> None:
    one = learner(bloom(), micro_batch_tokens=20)
    one.update(STEP[:1], 0)
    assert one._forward._packs is None
    one.update(STEP, 1)
    assert one._forward._packs is False
