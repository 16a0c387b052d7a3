"""The transformers engine on long sequences: few rows of the whole vocabulary at a time, and the same answers."""

import threading

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.wire import GeneratePrompt, GenerateRequest, ScoreSequence, SequenceAnswer
from services.teacher.engines import transformers_engine
from services.teacher.engines.transformers_engine import TransformersEngine
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, make_model
from tests.unit.method import test_decoding as decoding_models

NUM_SLICE_ROWS = 16


def sequence(token_ids: list[int], start: int) -> ScoreSequence:
    return ScoreSequence(token_ids=token_ids, start=start)


def some_tokens(number: int, vocab_size: int = VOCAB_SIZE) -> list[int]:
    return np.random.default_rng(0).integers(0, vocab_size, number).tolist()


class LargestRows(TorchDispatchMode):
    """The most rows of the vocabulary that any operation within has put into one tensor, weights apart."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self._weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        self.num_rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            # A view of the head's own weights may have as many columns.
            if not isinstance(tensor, torch.Tensor) or tensor.shape[-1:] not in ((VOCAB_SIZE,), (NUM_ROWS,)):
                continue
            if tensor.untyped_storage().data_ptr() not in self._weights:
                self.num_rows = max(self.num_rows, tensor.numel() // tensor.shape[-1])
        return result


def sliced(monkeypatch: pytest.MonkeyPatch, row_size: int = NUM_ROWS) -> None:
    """From here on, no more than ``NUM_SLICE_ROWS`` may be there at once."""
    monkeypatch.setattr(transformers_engine, "MAX_LOGITS", NUM_SLICE_ROWS * row_size)


def assert_the_same(ones: list[SequenceAnswer], others: list[SequenceAnswer]) -> None:
    """Up to the rounding of batches put together otherwise."""
    for one, other in zip(ones, others, strict=True):
        assert (one.token_ids.tolist(), one.finish_reason) == (other.token_ids.tolist(), other.finish_reason)
        np.testing.assert_array_equal(one.top_ids, other.top_ids)
        np.testing.assert_allclose(one.token_logprobs, other.token_logprobs, atol=1e-4)
        np.testing.assert_allclose(one.top_logprobs, other.top_logprobs, atol=1e-4)


@pytest.mark.parametrize("start", [1, 16, 17, 90, 129])
async def test_a_long_sequence_is_scored_in_slices_of_few_rows(small_engine, monkeypatch, start):
    token_ids = some_tokens(129)
    sequences = [sequence([3, 4], 1), sequence(token_ids, start), sequence([5] * 20, 2)]
    whole = small_engine._score(sequences, 5, threading.Event())
    sliced(monkeypatch)
    with LargestRows(small_engine._model) as largest:
        parts = small_engine._score(sequences, 5, threading.Event())
    assert 0 < largest.num_rows <= NUM_SLICE_ROWS
    assert parts[1].top_ids.shape == (130 - start, 5)
    assert_the_same(parts, whole)


@pytest.mark.parametrize("name", ["gemma2-alternating", "mistral-sliding"])
async def test_slices_of_models_with_windows_and_capped_logits(tmp_path, monkeypatch, name):
    folder = make_model(tmp_path, decoding_models.V)
    decoding_models.model(name).save_pretrained(folder)
    engine = TransformersEngine(TeacherServiceConfig(model=str(folder), engine="transformers"))
    await engine.start()
    asked = [sequence(some_tokens(100, decoding_models.V), 7)]
    whole = await engine.score(asked, 5)
    sliced(monkeypatch, engine._row_size)
    assert_the_same(await engine.score(asked, 5), whole)
    await engine.close()


async def test_a_long_continuation_keeps_few_rows(small_engine, monkeypatch):
    prompts = [
        GeneratePrompt(token_ids=ids, max_tokens=n, seed=seed, stop_token_ids=[11])
        for ids, n, seed in (([5, 9], 70, 1), ([7], 3, 2), ([8, 8, 1], 41, 3))
    ]
    request = GenerateRequest(prompts=prompts, top_k=4, temperature=0.7, top_p=0.9)
    whole = small_engine._generate(request, threading.Event())
    sliced(monkeypatch)
    monkeypatch.setattr(transformers_engine, "MAX_DRAWN", 2 * VOCAB_SIZE)
    with LargestRows(small_engine._model) as largest:
        parts = small_engine._generate(request, threading.Event())
    assert 0 < largest.num_rows <= NUM_SLICE_ROWS
    assert {answer.finish_reason for answer in whole} == {"stop", "length"}
    assert max(len(answer.token_ids) for answer in whole) > 2 * NUM_SLICE_ROWS
    assert_the_same(parts, whole)


async def test_work_that_was_given_up_ends_at_the_next_slice(small_engine, monkeypatch):
    sliced(monkeypatch)
    abandoned = threading.Event()
    forward = small_engine._forward

    def once(*arguments):
        assert not abandoned.is_set()
        abandoned.set()
        return forward(*arguments)

    monkeypatch.setattr(small_engine, "_forward", once)
    with pytest.raises(transformers_engine.Abandoned):
        small_engine._score([sequence([5] * 129, 1)], 5, abandoned)
