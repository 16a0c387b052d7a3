"""The REST contract's schemas, and answers to bytes and back."""

import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.numpy import load, save

from adaswitch.contract.wire import (
    GeneratePrompt,
    GenerateRequest,
    ScoreRequest,
    ScoreSequence,
    SequenceAnswer,
    answers_from_json,
    answers_from_safetensors,
    answers_to_safetensors,
)
from adaswitch.errors import NonFiniteError, TeacherProtocolError


def make_answer(num_tokens: int, num_rows: int, k: int, seed: int, reason: str | None) -> SequenceAnswer:
    random = np.random.default_rng(seed)
    return SequenceAnswer(
        random.integers(0, 2**31 - 1, num_tokens, dtype=np.int32),
        -random.exponential(size=num_tokens).astype(np.float32),
        random.integers(0, 2**31 - 1, (num_rows, k), dtype=np.int32),
        -random.exponential(size=(num_rows, k)).astype(np.float32),
        reason,
    )


def assert_same(answers: list[SequenceAnswer], expected: list[SequenceAnswer]) -> None:
    for answer, other in zip(answers, expected, strict=True):
        for name in ("token_ids", "token_logprobs", "top_ids", "top_logprobs"):
            got, wanted = getattr(answer, name), getattr(other, name)
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
        assert answer.finish_reason == other.finish_reason


shapes = st.lists(
    st.tuples(
        st.integers(0, 5), st.integers(1, 6), st.integers(0, 99), st.sampled_from([None, "stop", "length"])
    ),
    min_size=1,
    max_size=4,
)


@given(shapes, st.integers(0, 7))
def test_answers_survive_safetensors_bit_for_bit(shapes, k):
    answers = [make_answer(tokens, rows, k, seed, reason) for tokens, rows, seed, reason in shapes]
    assert_same(answers_from_safetensors(answers_to_safetensors(answers)), answers)


@given(shapes, st.integers(0, 7))
def test_answers_survive_json_bit_for_bit(shapes, k):
    answers = [make_answer(tokens, rows, k, seed, reason) for tokens, rows, seed, reason in shapes]
    document = orjson.loads(
        orjson.dumps(
            {"sequences": [answer.to_document() for answer in answers]}, option=orjson.OPT_SERIALIZE_NUMPY
        )
    )
    assert_same(answers_from_json(document), answers)


def test_a_blob_with_a_missing_row_is_refused():
    arrays = load(answers_to_safetensors([make_answer(3, 4, 2, 0, None)]))
    arrays["top_logprobs"] = arrays["top_logprobs"][:-1]
    blob = save(arrays, metadata={"finish_reasons": "[null]"})
    with pytest.raises(TeacherProtocolError, match="top_logprobs holds 3 rows and not 4"):
        answers_from_safetensors(blob)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"not safetensors at all",
        (2**40).to_bytes(8, "little") + b"{}",
        save({"num_tokens": np.zeros(1, np.int32)}),
        save({"num_tokens": np.zeros(1, np.int32)}, metadata={"finish_reasons": "3"}),
        answers_to_safetensors([make_answer(2, 3, 2, 0, None)])[:-4],
    ],
)
def test_what_is_no_answer_is_a_protocol_error(blob):
    with pytest.raises(TeacherProtocolError):
        answers_from_safetensors(blob)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"sequences": [{"token_ids": [1]}]},
        {"sequences": [{"token_ids": [1], "token_logprobs": [None], "top_ids": [[1], [1, 2]]}]},
    ],
)
def test_json_that_is_no_answer_is_a_protocol_error(document):
    with pytest.raises(TeacherProtocolError):
        answers_from_json(document)


def test_an_answer_becomes_distributions():
    answer = SequenceAnswer(
        np.array([4], np.int32),
        np.array([-0.5], np.float32),
        np.array([[4, 1], [0, 2]], np.int32),
        np.log(np.array([[0.6, 0.3], [0.5, 0.5]], np.float32)),
    )
    distributions = answer.distributions(5)
    assert (len(distributions), distributions.k, distributions.vocab_size) == (2, 2, 5)
    assert distributions.ids.tolist() == [[4, 1], [0, 2]]
    assert distributions.outcome_logprobs().exp()[0].tolist() == pytest.approx([0.6, 0.3, 0.1])


def test_an_infinite_logprob_becomes_no_distribution():
    answer = SequenceAnswer(
        np.zeros(0, np.int32),
        np.zeros(0, np.float32),
        np.zeros((1, 1), np.int32),
        np.full((1, 1), -np.inf, np.float32),
    )
    with pytest.raises(NonFiniteError):
        answer.distributions(5)


def location_of(schema, **values) -> str:
    with pytest.raises(ValidationError) as caught:
        schema.model_validate_json(json.dumps(values))
    return ".".join(str(part) for part in caught.value.errors()[0]["loc"])


@pytest.mark.parametrize(
    ("sequence", "field"),
    [
        ({"token_ids": [], "start": 1}, "sequences.0.token_ids"),
        ({"token_ids": [1, -1], "start": 1}, "sequences.0.token_ids.1"),
        ({"token_ids": [1, 2**31], "start": 1}, "sequences.0.token_ids.1"),
        ({"token_ids": [1, 2.5], "start": 1}, "sequences.0.token_ids.1"),
        ({"token_ids": [1, "2"], "start": 1}, "sequences.0.token_ids.1"),
        ({"token_ids": [1, True], "start": 1}, "sequences.0.token_ids.1"),
        ({"token_ids": [1, 2], "start": 0}, "sequences.0.start"),
        ({"token_ids": [1, 2], "start": 3}, "sequences.0.start"),
        ({"token_ids": [1, 2]}, "sequences.0.start"),
        ({"token_ids": [1, 2], "start": 1, "text": "no"}, "sequences.0.text"),
    ],
)
def test_a_wrong_sequence_is_refused_by_its_field(sequence, field):
    assert location_of(ScoreRequest, sequences=[sequence], top_k=1) == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"temperature": 0.005}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"prompts": []}, "prompts"),
        ({"prompts": [{"token_ids": [1], "max_tokens": 0, "seed": 1}]}, "prompts.0.max_tokens"),
        ({"prompts": [{"token_ids": [1], "max_tokens": 1, "seed": -1}]}, "prompts.0.seed"),
        ({"prompts": [{"token_ids": [1], "max_tokens": 1, "seed": 2**63}]}, "prompts.0.seed"),
        ({"prompts": [{"token_ids": [1], "max_tokens": 1}]}, "prompts.0.seed"),
    ],
)
def test_a_wrong_generate_request_is_refused_by_its_field(change, field):
    right = {"prompts": [{"token_ids": [1], "max_tokens": 1, "seed": 0}], "top_k": 1}
    assert location_of(GenerateRequest, **(right | change)) == field


@pytest.mark.parametrize("temperature", [0, 0.01, 1, 2])
def test_the_bounds_of_the_temperature_are_taken(temperature):
    request = GenerateRequest(
        prompts=[GeneratePrompt(token_ids=[1], max_tokens=1, seed=0)], temperature=temperature, top_k=0
    )
    assert request.temperature == temperature


def test_start_may_be_the_length():
    assert ScoreSequence(token_ids=[1, 2], start=2).start == 2
