"""Rollouts and prompts as safetensors bytes and back: on the queue, and as shards on disk.

Values of rollouts, tokens or rows are stored as one array over all rollouts, with lengths that tell where each
rollout ends. Nothing is pickled, so that reading a blob from elsewhere never runs code.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from adaswitch.contract.wire import safetensors_metadata
from adaswitch.errors import DataError, NonFiniteError
from adaswitch.method.distribution import TopK, concatenate
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Candidates, Costs, Ending, Rollout

FORMAT = "adaswitch-rollouts-1"

_DTYPES = {
    "prompt_token_ids": np.int32,
    "completion_token_ids": np.int32,
    "by_teacher": np.bool_,
    "top_ids": np.int32,
    "top_logprobs": np.float32,
    "divergences": np.float64,
    "thresholds": np.float64,
    "num_prompt_tokens": np.int32,
    "num_completion_tokens": np.int32,
    "num_divergences": np.int32,
    "reference_token_ids": np.int32,
    "num_reference_tokens": np.int32,
}

_OPTIONAL = {"token_weights": np.float64, "student_top_ids": np.int32, "student_top_logprobs": np.float32}
_UNKNOWN = -1
"""The id of a candidate where a rollout has none on record."""

_LENGTHS = ("num_prompt_tokens", "num_completion_tokens", "num_divergences", "num_reference_tokens")
_WHOLE_NUMBERS = ("id", "record", "step", "min_version", "weights_version")

_BROKEN = (
    SafetensorError,
    NonFiniteError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""The errors that reading can raise if the bytes are no blob, or only a part of a blob."""


def encode_rollouts(rollouts: Sequence[Rollout]) -> bytes:
    """``rollouts`` as one blob. There must be at least one rollout, and all must have the same k and vocabulary."""
    teacher = concatenate([r.teacher for r in rollouts])
    arrays: dict[str, NDArray[np.generic]] = {
        "prompt_token_ids": _join([r.prompt.token_ids for r in rollouts], np.int32),
        "completion_token_ids": _join([r.completion_token_ids for r in rollouts], np.int32),
        "by_teacher": _join([r.by_teacher for r in rollouts], np.bool_),
        "top_ids": teacher.ids.numpy().astype(np.int32),
        "top_logprobs": teacher.logprobs.numpy(),
        "divergences": _join([r.divergences for r in rollouts], np.float64),
        "thresholds": _join([r.thresholds for r in rollouts], np.float64),
        "num_prompt_tokens": np.array([len(r.prompt.token_ids) for r in rollouts], np.int32),
        "num_completion_tokens": np.array([r.num_tokens for r in rollouts], np.int32),
        "num_divergences": np.array([len(r.divergences) for r in rollouts], np.int32),
        "reference_token_ids": _join([r.prompt.reference_token_ids for r in rollouts], np.int32),
        "num_reference_tokens": np.array([len(r.prompt.reference_token_ids) for r in rollouts], np.int32),
    }
    if any(rollout.token_weights is not None for rollout in rollouts):
        arrays["token_weights"] = _join([rollout.weights for rollout in rollouts], np.float64)
    if any(rollout.student_top is not None for rollout in rollouts):
        arrays |= _student_tops(rollouts)
    records = [
        {
            "id": r.prompt.id,
            "record": r.prompt.record,
            "step": r.prompt.step,
            "min_version": r.prompt.min_version,
            "max_teacher_tokens": r.prompt.max_teacher_tokens,
            "coin": r.prompt.coin,
            "divergence_scale": r.prompt.divergence_scale,
            "ending": r.ending.value,
            "weights_version": r.weights_version,
            "costs": asdict(r.costs),
        }
        for r in rollouts
    ]
    metadata = {
        "format": FORMAT,
        "vocab_size": str(teacher.vocab_size),
        "records": json.dumps(records),
    }
    return save(arrays, metadata=metadata)


def decode_rollouts(blob: bytes, source: str = "rollouts") -> list[Rollout]:
    """The inverse of ``encode_rollouts``. Raises ``DataError`` with ``source`` if ``blob`` is not valid.

    A changed byte goes unnoticed if the result is a valid rollout too, as when a token's id is changed.
    """
    try:
        metadata = safetensors_metadata(blob)
        if metadata.get("format") != FORMAT:
            raise DataError(f"not rollouts of the form {FORMAT}", source=source)
        return _rebuild(_arrays(blob), json.loads(metadata["records"]), int(metadata["vocab_size"]))
    except _BROKEN as error:
        raise DataError(f"the rollouts in it cannot be read: {error!r}", source=source) from error


def _arrays(blob: bytes) -> dict[str, NDArray]:  # type: ignore[type-arg]
    arrays = load(blob)
    if not {"num_reference_tokens", "reference_token_ids"} & arrays.keys():
        # The rollouts were recorded by an older version, in which prompts had no references.
        arrays["num_reference_tokens"] = np.zeros_like(arrays["num_prompt_tokens"])
        arrays["reference_token_ids"] = np.zeros(0, np.int32)
    dtypes = {**_DTYPES, **{name: dtype for name, dtype in _OPTIONAL.items() if name in arrays}}
    for name, dtype in dtypes.items():
        if arrays[name].dtype != dtype:
            raise TypeError(f"{name} is {arrays[name].dtype} and not {np.dtype(dtype)}")
    if (arrays["by_teacher"].view(np.uint8) > 1).any():
        raise ValueError("by_teacher holds more than truth values")
    if not np.isfinite(arrays["divergences"]).all() or np.isnan(arrays["thresholds"]).any():
        raise ValueError("a divergence or a threshold is not a number")
    return arrays


def _rebuild(arrays: dict[str, NDArray], records: list[dict], vocab_size: int) -> list[Rollout]:  # type: ignore[type-arg]
    prompts = _split(arrays["prompt_token_ids"], arrays["num_prompt_tokens"])
    references = _split(arrays["reference_token_ids"], arrays["num_reference_tokens"])
    per_token = {
        name: _split(arrays[name], arrays["num_completion_tokens"])
        for name in ("completion_token_ids", "by_teacher", "top_ids", "top_logprobs")
    }
    weights: Sequence[NDArray[np.float64] | None] = [None] * len(records)
    if "token_weights" in arrays:
        weights = _split(arrays["token_weights"], arrays["num_completion_tokens"])
    tops = ("student_top_ids", "student_top_logprobs") if "student_top_ids" in arrays else ()
    watched = {
        name: _split(arrays[name], arrays["num_divergences"]) for name in ("divergences", "thresholds", *tops)
    }
    if {len(records)} != {len(arrays[name]) for name in _LENGTHS}:
        raise ValueError("records and lengths must be equally many")
    if not all(type(record[name]) is int for record in records for name in _WHOLE_NUMBERS):
        raise TypeError(f"{', '.join(_WHOLE_NUMBERS)} of a record must be whole numbers")
    known_costs = {field.name for field in fields(Costs)}
    return [
        Rollout(
            prompt=_prompt(record, prompts[i], references[i]),
            completion_token_ids=tuple(per_token["completion_token_ids"][i].tolist()),
            by_teacher=per_token["by_teacher"][i],
            teacher=TopK(
                torch.from_numpy(per_token["top_ids"][i].astype(np.int64)),
                torch.from_numpy(per_token["top_logprobs"][i].copy()),
                vocab_size,
            ),
            divergences=tuple(watched["divergences"][i].tolist()),
            thresholds=tuple(watched["thresholds"][i].tolist()),
            ending=Ending(record["ending"]),
            weights_version=record["weights_version"],
            costs=Costs(**{name: record["costs"][name] for name in known_costs}),
            token_weights=weights[i],
            student_top=_student_top(*(watched[name][i] for name in tops)) if tops else None,
        )
        for i, record in enumerate(records)
    ]


def _student_tops(rollouts: Sequence[Rollout]) -> dict[str, NDArray[np.generic]]:
    """The student's candidates of all rollouts in one array each. A rollout without them has unknown ones."""
    width = max(r.student_top.ids.shape[1] for r in rollouts if r.student_top is not None)
    ids, logprobs = [], []
    for rollout in rollouts:
        top, rows = rollout.student_top, len(rollout.divergences)
        ids.append(np.full((rows, width), _UNKNOWN, np.int32) if top is None else top.ids.astype(np.int32))
        logprobs.append(np.full((rows, width), np.nan, np.float32) if top is None else top.logprobs)
    return {"student_top_ids": np.concatenate(ids), "student_top_logprobs": np.concatenate(logprobs)}


def _student_top(ids: NDArray[np.int32], logprobs: NDArray[np.float32]) -> Candidates | None:
    """The student's candidates of one rollout; None if they are not on record."""
    if (ids == _UNKNOWN).all():
        return None
    if (ids < 0).any() or np.isnan(logprobs).any() or (logprobs == np.inf).any():
        raise ValueError("a candidate of the student has no id or no log-probability")
    return Candidates(ids, logprobs)


def _prompt(record: dict, token_ids: NDArray, reference: NDArray) -> Prompt:  # type: ignore[type-arg]
    # Records of older versions lack these fields.
    limit, coin, scale = (record.get(name) for name in ("max_teacher_tokens", "coin", "divergence_scale"))
    if limit is not None and type(limit) is not int:
        raise TypeError("max_teacher_tokens of a record must be a whole number or null")
    for name, value in (("coin", coin), ("divergence_scale", scale)):
        if value is not None and type(value) is not float:
            raise TypeError(f"{name} of a record must be a number with a point or null")
    return Prompt(
        id=record["id"],
        token_ids=tuple(token_ids.tolist()),
        record=record["record"],
        step=record["step"],
        min_version=record["min_version"],
        reference_token_ids=tuple(reference.tolist()),
        max_teacher_tokens=limit,
        coin=coin,
        divergence_scale=scale,
    )


def _join(
    parts: Sequence[Sequence[float] | NDArray[np.bool_] | NDArray[np.float64]], dtype: type
) -> NDArray[np.generic]:
    return np.concatenate([np.asarray(part, dtype=dtype) for part in parts])


def _split(array: NDArray, lengths: NDArray) -> list[NDArray]:  # type: ignore[type-arg]
    if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != len(array):
        raise ValueError(f"the lengths of {len(lengths)} rollouts do not make up {len(array)} rows")
    return np.split(array, np.cumsum(lengths)[:-1])
