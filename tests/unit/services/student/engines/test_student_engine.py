"""The student's engine on a tiny random model, against plain forward passes and the definition of a draw."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaswitch.errors import ModelError
from adaswitch.method.roles import Chunk
from services.student.engines import transformers_engine
from services.student.engines.engine import Sampling, WriteRequest
from services.student.engines.transformers_engine import TransformersEngine
from tests.student_contract import (
    LENGTH,
    PROMPTS,
    SEED,
    STOP,
    TEMPERATURE,
    check_any_way_of_writing,
    expected_outcomes,
    rows_of,
)
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, Reference, make_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("student"), VOCAB_SIZE, num_rows=NUM_ROWS)


@pytest.fixture(scope="module")
def reference(model_folder: Path) -> Reference:
    return Reference(model_folder, VOCAB_SIZE)


@pytest.fixture
def engine(model_folder: Path) -> TransformersEngine:
    return engine_of(model_folder)


def engine_of(folder: Path, temperature: float = TEMPERATURE) -> TransformersEngine:
    sampling = Sampling(SEED, temperature, [STOP])
    return TransformersEngine.from_folder(str(folder), "float32", VOCAB_SIZE, sampling, "cpu")


def outcomes(chunk: Chunk, ids: torch.Tensor) -> torch.Tensor:
    return asyncio.run(chunk.rows.outcomes(ids))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_chunks_companions_order_and_foreign_tokens_change_no_token(
    engine: TransformersEngine, reference: Reference, data: st.DataObject
) -> None:
    engine.forget([prompt.id for prompt in PROMPTS])

    def write(requests: Sequence[WriteRequest]) -> list[list[int]]:
        return [chunk.token_ids for chunk in engine.write(requests)]

    check_any_way_of_writing(write, reference, data)


def whole(engine: TransformersEngine, num_tokens: int = LENGTH) -> list[Chunk]:
    engine.forget([prompt.id for prompt in PROMPTS])
    return engine.write([WriteRequest(prompt, (), num_tokens) for prompt in PROMPTS])


@pytest.mark.parametrize("sharpness", [1.0, 6.0])
@pytest.mark.parametrize("k", [1, 8, VOCAB_SIZE - 1, VOCAB_SIZE])
def test_outcomes_are_those_of_a_plain_forward_pass(tmp_path: Path, k: int, sharpness: float) -> None:
    """Also where the candidates hold all but 1e-5 of the student's mass, and where none is left over."""
    folder = make_model(tmp_path, VOCAB_SIZE, num_rows=NUM_ROWS, sharpness=sharpness)
    reference, smallest = Reference(folder, VOCAB_SIZE), 0.0
    for prompt, chunk in zip(PROMPTS, whole(engine_of(folder)), strict=True):
        rows = rows_of(reference, prompt, [], chunk.token_ids)
        ids = rows.topk(k).indices
        expected = expected_outcomes(rows, ids)
        smallest = min(smallest, float(expected[:, -1].min()))
        torch.testing.assert_close(outcomes(chunk, ids).double(), expected, rtol=0, atol=3e-4)
    assert smallest < np.log(1e-5) or sharpness == 1.0 or k == 1


def test_rows_of_candidates_must_be_those_of_the_tokens(engine: TransformersEngine) -> None:
    chunk = whole(engine)[0]
    with pytest.raises(ValueError, match=r"candidates of 1 tokens, for \d+ distributions"):
        outcomes(chunk, torch.zeros(1, 2, dtype=torch.long))


def test_at_temperature_0_the_most_likely_token_is_written(model_folder: Path, reference: Reference) -> None:
    for prompt, chunk in zip(PROMPTS, whole(engine_of(model_folder, temperature=0)), strict=True):
        rows = rows_of(reference, prompt, [], chunk.token_ids)
        assert chunk.token_ids == rows.argmax(-1).tolist()


def test_memory_for_logits_is_bounded_by_shorter_chunks(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [chunk.token_ids for chunk in whole(engine)]
    monkeypatch.setattr(transformers_engine, "MAX_KEPT_BYTES", 5 * len(PROMPTS) * VOCAB_SIZE * 4)
    chunks = whole(engine)
    assert [chunk.token_ids for chunk in chunks] == [token_ids[:5] for token_ids in expected]
    monkeypatch.setattr(transformers_engine, "MAX_KEPT_BYTES", 1)
    assert [len(chunk.token_ids) for chunk in whole(engine)] == [1] * len(PROMPTS)


def test_new_weights_are_written_with_and_the_old_ones_again(
    tmp_path: Path, engine: TransformersEngine
) -> None:
    old = {name: weight.clone() for name, weight in engine._model.named_parameters()}
    new = {name: weight + 0.1 * torch.randn_like(weight) for name, weight in old.items()}
    first = [chunk.token_ids for chunk in whole(engine)]
    engine.load_weights(new)
    assert [chunk.token_ids for chunk in whole(engine)] != first
    engine.load_weights(old)
    assert [chunk.token_ids for chunk in whole(engine)] == first
    with pytest.raises(ModelError, match="another model's"):
        engine.load_weights({"other": torch.zeros(1)})
