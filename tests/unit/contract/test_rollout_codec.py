"""Rollouts to bytes and back: exact, and nothing but ``DataError`` for bytes that are anything else."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from adaswitch.contract.rollout_codec import decode_rollouts, encode_rollouts
from adaswitch.contract.wire import safetensors_metadata
from adaswitch.errors import DataError
from adaswitch.method.distribution import TopK
from adaswitch.method.rollout import Candidates, Costs, Ending, Rollout
from tests.fakes import random_rollout

ROLLOUTS = st.lists(
    st.builds(
        random_rollout,
        seed=st.integers(0, 10**6),
        num_prompt=st.integers(1, 5),
        num_student=st.integers(0, 5),
        num_teacher=st.integers(1, 4),
        num_reference=st.integers(0, 3),
        k=st.just(3),
    ),
    min_size=1,
    max_size=4,
)


def assert_equal(one: Rollout, two: Rollout) -> None:
    assert torch.equal(one.teacher.ids, two.teacher.ids)
    assert torch.equal(one.teacher.logprobs, two.teacher.logprobs)
    assert one.teacher.logprobs.dtype == two.teacher.logprobs.dtype == torch.float32
    assert one.teacher.vocab_size == two.teacher.vocab_size
    assert one.by_teacher.tolist() == two.by_teacher.tolist()
    for name in (
        "prompt",
        "completion_token_ids",
        "divergences",
        "thresholds",
        "ending",
        "weights_version",
        "costs",
        "switch_position",
    ):
        assert getattr(one, name) == getattr(two, name), name
    assert (one.student_top is None) == (two.student_top is None)
    if one.student_top is not None and two.student_top is not None:
        assert one.student_top.ids.tolist() == two.student_top.ids.tolist()
        assert one.student_top.logprobs.tolist() == two.student_top.logprobs.tolist()


@given(ROLLOUTS)
def test_there_and_back_is_exact(rollouts: list[Rollout]) -> None:
    back = decode_rollouts(encode_rollouts(rollouts))
    for one, two in zip(rollouts, back, strict=True):
        assert_equal(one, two)


def test_numbers_that_are_hard_to_write_come_back_exactly() -> None:
    rollout = replace(
        random_rollout(0, num_student=4, num_teacher=0),
        divergences=(0.0, 5e-324, 1 / 3, 1e308),
        thresholds=(math.inf, math.inf, 0.1, math.nextafter(1.0, 2.0)),
        costs=Costs(1, 2, 3, 4, 0.1 + 0.2, 1e-300, 1e300),
    )
    (back,) = decode_rollouts(encode_rollouts([rollout]))
    assert_equal(rollout, back)


def test_what_a_token_is_worth_comes_back_and_is_not_written_where_nobody_says_it() -> None:
    plain, other = (random_rollout(i, num_student=2, num_teacher=1) for i in range(2))
    own = replace(other, token_weights=np.array([0.0, 1 / 3, 1000.0]))
    assert decode_rollouts(encode_rollouts([plain, other]))[0].token_weights is None
    back = decode_rollouts(encode_rollouts([plain, own]))
    weights = [rollout.token_weights for rollout in back]
    assert all(found is not None for found in weights)
    assert [found.tolist() for found in weights if found is not None] == [[1.0] * 3, [0.0, 1 / 3, 1000.0]]


@pytest.mark.parametrize("weights", [[0.0, -1.0, 1.0], [np.nan, 1.0, 1.0], [1.0, 1.0]])
def test_weights_that_are_none_are_a_damaged_blob(weights: list[float]) -> None:
    rollout = random_rollout(0, num_student=2, num_teacher=1)
    arrays = load(encode_rollouts([rollout]))
    metadata = safetensors_metadata(encode_rollouts([rollout]))
    with pytest.raises(DataError, match="cannot be read"):
        decode_rollouts(save({**arrays, "token_weights": np.array(weights)}, metadata=metadata))


def candidates(rows: int) -> Candidates:
    ids = np.arange(rows * 2, dtype=np.int32).reshape(rows, 2)
    return Candidates(ids, np.where(ids % 2, -np.inf, -0.1).astype(np.float32))


def test_the_students_candidates_come_back_and_are_not_written_where_nobody_has_any() -> None:
    written, silent, guided = (
        random_rollout(i, num_student=n, num_teacher=1) for i, n in enumerate((2, 2, 0))
    )
    assert "student_top_ids" not in load(encode_rollouts([written, silent]))
    rollouts = [replace(written, student_top=candidates(3)), silent, guided]
    for one, two in zip(rollouts, decode_rollouts(encode_rollouts(rollouts)), strict=True):
        assert_equal(one, two)


def test_candidates_for_other_tokens_are_refused() -> None:
    rollout = random_rollout(0, num_student=2, num_teacher=1)
    with pytest.raises(ValueError, match="3 divergences, and the student's candidates have the shapes"):
        replace(rollout, student_top=candidates(2))


@pytest.mark.parametrize("logprob", [np.nan, np.inf])
def test_candidates_without_a_probability_are_a_damaged_blob(logprob: float) -> None:
    rollout = replace(random_rollout(0, num_student=2, num_teacher=1), student_top=candidates(3))
    blob = encode_rollouts([rollout])
    damaged = {**load(blob), "student_top_logprobs": np.full((3, 2), logprob, np.float32)}
    with pytest.raises(DataError, match="cannot be read"):
        decode_rollouts(save(damaged, metadata=safetensors_metadata(blob)))


@pytest.mark.parametrize(("num_student", "num_teacher"), [(0, 1), (1, 0), (0, 5), (5, 0), (3, 2)])
def test_rollouts_of_one_side_come_back(num_student: int, num_teacher: int) -> None:
    rollouts = [random_rollout(i, num_student=num_student, num_teacher=num_teacher) for i in range(2)]
    for one, two in zip(rollouts, decode_rollouts(encode_rollouts(rollouts)), strict=True):
        assert_equal(one, two)


def test_what_older_versions_recorded_is_read_with_the_defaults() -> None:
    rollouts = [random_rollout(seed, num_reference=0) for seed in (0, 2)]
    blob = encode_rollouts(rollouts)
    metadata = safetensors_metadata(blob)
    records = json.loads(metadata["records"])
    for record in records:
        del record["max_teacher_tokens"], record["coin"], record["divergence_scale"]
    arrays = load(blob)
    del arrays["reference_token_ids"], arrays["num_reference_tokens"]
    old = save(arrays, metadata={**metadata, "records": json.dumps(records)})
    for one, two in zip(rollouts, decode_rollouts(old), strict=True):
        defaults = {"max_teacher_tokens": None, "coin": None, "divergence_scale": None}
        assert_equal(replace(one, prompt=replace(one.prompt, **defaults)), two)


@pytest.mark.parametrize("num_reference", [0, 1, 7])
def test_a_reference_of_any_length_and_every_ending_come_back(num_reference: int) -> None:
    rollouts = [random_rollout(seed, num_reference=num_reference) for seed in range(6)]
    assert {rollout.ending for rollout in rollouts} == set(Ending)
    for one, two in zip(rollouts, decode_rollouts(encode_rollouts(rollouts)), strict=True):
        assert_equal(one, two)


@pytest.mark.parametrize("k", [1, 11])
def test_one_candidate_and_the_whole_vocabulary_come_back(k: int) -> None:
    rollout = random_rollout(0, k=k)
    (back,) = decode_rollouts(encode_rollouts([rollout]))
    assert back.teacher.k == k
    assert_equal(rollout, back)


def test_what_comes_back_may_be_written_to() -> None:
    # torch warns of memory that belongs to the blob, and warnings are errors.
    (back,) = decode_rollouts(encode_rollouts([random_rollout(0)]))
    assert torch.from_numpy(back.by_teacher).sum() == 3


@pytest.mark.parametrize("other", [{"k": 5}, {"vocab_size": 12}])
def test_rollouts_of_different_teachers_are_not_joined(other: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="cannot join"):
        encode_rollouts([random_rollout(0), random_rollout(1, **other)])


def test_without_a_candidate_there_is_no_rollout() -> None:
    with pytest.raises(ValueError, match="0 candidates"):
        random_rollout(0, k=0)


BLOB = encode_rollouts([random_rollout(seed, num_student=seed % 3) for seed in range(3)])
HEADER_END = 8 + int.from_bytes(BLOB[:8], "little")


def decode_or_refuse(blob: bytes) -> list[Rollout] | None:
    """The rollouts, if the blob is well formed; ``DataError`` is the only error that may come."""
    try:
        rollouts = decode_rollouts(blob, "a shard")
    except DataError as error:
        refusal = str(error)
    else:
        for rollout in rollouts:
            assert_well_formed(rollout)
        return rollouts
    assert refusal.startswith("a shard: ")
    assert "\n" not in refusal
    return None


def assert_well_formed(rollout: Rollout) -> None:
    assert rollout.num_tokens == len(rollout.by_teacher) == len(rollout.teacher)
    assert np.isfinite(rollout.divergences).all()
    assert not np.isnan(rollout.thresholds).any()
    assert isinstance(rollout.teacher, TopK)


@pytest.mark.parametrize("length", [*range(0, len(BLOB), 7), len(BLOB) - 1])
def test_a_blob_that_was_cut_is_refused(length: int) -> None:
    assert decode_or_refuse(BLOB[:length]) is None


@settings(max_examples=600)
@given(st.lists(st.tuples(st.integers(0, len(BLOB) - 1), st.integers(1, 255)), min_size=1, max_size=3))
def test_changed_bytes_are_refused_or_give_a_well_formed_rollout(changes: list[tuple[int, int]]) -> None:
    blob = bytearray(BLOB)
    for place, difference in changes:
        blob[place] ^= difference
    decode_or_refuse(bytes(blob))


@settings(max_examples=600)
@given(st.integers(0, HEADER_END - 1), st.integers(1, 255))
def test_changed_bytes_of_the_header_are_refused_or_give_a_well_formed_rollout(
    place: int, difference: int
) -> None:
    blob = bytearray(BLOB)
    blob[place] ^= difference
    decode_or_refuse(bytes(blob))


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x02" + bytes(7) + b"[]")
@example(b"\x02" + bytes(7) + b"{}")
@example(b"\x04" + bytes(7) + b"null")
@example(b"\xff" * 8 + b"{}")
@example((100_000).to_bytes(8, "little") + b"[" * 100_000)
def test_any_bytes_are_refused(blob: bytes) -> None:
    assert decode_or_refuse(blob) is None


def changed(records: object = None, **arrays: np.ndarray | None) -> bytes:
    """``BLOB`` with other arrays (None takes one away) or other records."""
    metadata = safetensors_metadata(BLOB)
    if records is not None:
        metadata["records"] = json.dumps(records)
    kept = {name: array for name, array in {**load(BLOB), **arrays}.items() if array is not None}
    return save(kept, metadata=metadata)


ARRAYS = load(BLOB)
RECORDS = json.loads(safetensors_metadata(BLOB)["records"])


def with_value(name: str, value: float) -> dict[str, np.ndarray]:
    array = ARRAYS[name].copy()
    array.flat[0] = value
    return {name: array}


def test_the_blob_to_be_changed_is_whole() -> None:
    assert decode_or_refuse(changed()) is not None
    assert decode_or_refuse(changed(records=RECORDS)) is not None


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_an_array_that_is_missing_or_of_another_length_or_type_is_refused(name: str) -> None:
    array = ARRAYS[name]
    assert decode_or_refuse(changed(**{name: None})) is None
    assert decode_or_refuse(changed(**{name: array[: len(array) - 1]})) is None
    assert decode_or_refuse(changed(**{name: np.concatenate([array, array[:1]])})) is None
    assert decode_or_refuse(changed(**{name: np.zeros(array.shape, np.int16)})) is None
    assert decode_or_refuse(changed(**{name: array.reshape(1, *array.shape)})) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_logprobs", math.nan),
        ("top_logprobs", -math.inf),
        ("top_ids", 11),
        ("top_ids", -1),
        ("divergences", math.nan),
        ("divergences", math.inf),
        ("thresholds", math.nan),
        ("num_prompt_tokens", -1),
        ("num_completion_tokens", 2**31 - 1),
        ("num_divergences", 7),
    ],
)
def test_a_number_that_cannot_be_is_refused(name: str, value: float) -> None:
    assert decode_or_refuse(changed(**with_value(name, value))) is None


@pytest.mark.parametrize(
    "records",
    [
        [],
        RECORDS[:2],
        [*RECORDS, RECORDS[0]],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "ending": "perhaps"}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "costs": {}}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "id": None}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "weights_version": 1.0}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "max_teacher_tokens": 0}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "max_teacher_tokens": "3"}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "coin": 1.0}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "coin": True}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "divergence_scale": "0.5"}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "divergence_scale": -0.5}],
        [RECORDS[0], RECORDS[1], {**RECORDS[2], "divergence_scale": math.inf}],
        [1, 2, 3],
        {"a": 1, "b": 2, "c": 3},
        "abc",
        7,
    ],
)
def test_records_that_do_not_fit_are_refused(records: object) -> None:
    assert decode_or_refuse(changed(records=records)) is None


def test_another_format_is_named() -> None:
    blob = save({"a": np.zeros(1)}, metadata={"format": "adaswitch-rollouts-0"})
    with pytest.raises(DataError, match="shard-1: not rollouts of the form adaswitch-rollouts-1"):
        decode_rollouts(blob, "shard-1")
