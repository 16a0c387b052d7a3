"""The teacher's REST contract: schemas, and answers as safetensors bytes and back.

Log-probabilities are natural logs of the raw model's probabilities at temperature 1. ``rows`` is the number of
distributions in an answer: ``len - start + 1`` for a scored sequence, and one per new token for a generated sequence.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationInfo, field_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from adaswitch.errors import TeacherProtocolError
from adaswitch.method.distribution import TopK

JSON_TYPE = "application/json"
SAFETENSORS_TYPE = "application/x-safetensors"

REQUEST_ID_HEADER = "X-Request-Id"
"""The header with a client's own id for a request. The answer carries the same id, or an id that the service made."""
TIMEOUT_HEADER = "X-Request-Timeout-S"
"""The header with the number of seconds after which a client wants 504 instead of an answer."""

MIN_TEMPERATURE = 0.01
"""The smallest temperature above 0. vLLM would silently raise a smaller temperature to this, so it is refused."""
MAX_TEMPERATURE = 2.0
"""The highest temperature that vLLM takes."""

TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], FailFast()]
"""Only the first wrong token id is reported, because collecting a million findings takes minutes."""
Count = Annotated[int, Field(ge=1, lt=2**31)]
TopKCount = Annotated[int, Field(ge=-1, lt=2**31)]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class ScoreSequence(_Schema):
    """One sequence to score. Row j of its answer is the distribution after ``token_ids[: start + j]``."""

    token_ids: TokenIds = Field(min_length=1)
    """The tokens of the sequence, as ids of the model's vocabulary."""
    start: Count
    """The number of tokens in front of those that are scored, from 1 to the number of ``token_ids``."""

    @field_validator("start")
    @classmethod
    def _within_token_ids(cls, start: int, info: ValidationInfo) -> int:
        # If token_ids are wrong themselves, they are missing here, and pydantic reports them already.
        token_ids = info.data.get("token_ids")
        if token_ids is not None and start > len(token_ids):
            raise ValueError(f"start {start} is beyond the {len(token_ids)} token_ids")
        return start


class ScoreRequest(_Schema):
    """``POST /v1/score``."""

    sequences: Annotated[list[ScoreSequence], FailFast()] = Field(min_length=1)
    """The sequences to score. Each of them gets an answer, in the same order."""
    top_k: TopKCount
    """The number k of candidates in each row. 0 asks for none, and -1 for the whole vocabulary."""


class GeneratePrompt(_Schema):
    """One prompt to continue."""

    token_ids: TokenIds = Field(min_length=1)
    """The tokens of the prompt, as ids of the model's vocabulary."""
    max_tokens: Count
    """The largest number of tokens to write."""
    seed: int = Field(ge=0, lt=2**63)
    """The seed of the random numbers. The same prompt with the same seed is continued by the same tokens."""
    stop_token_ids: TokenIds = []
    """The tokens after which writing stops. The token that stopped it is the last of the answer."""


class GenerateRequest(_Schema):
    """``POST /v1/generate``."""

    prompts: Annotated[list[GeneratePrompt], FailFast()] = Field(min_length=1)
    """The prompts to continue. Each of them gets an answer, in the same order."""
    temperature: float = Field(default=1.0, ge=0.0, le=MAX_TEMPERATURE, allow_inf_nan=False)
    """The sampling temperature: 0, which is greedy, or at least 0.01."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, allow_inf_nan=False)
    """Tokens are drawn from the likeliest, as many as it takes for their total probability to reach this value."""
    top_k: TopKCount
    """The number k of candidates in each row. 0 asks for none, and -1 for the whole vocabulary. It limits what is
    reported and not what is drawn."""

    @field_validator("temperature")
    @classmethod
    def _greedy_or_hot_enough(cls, temperature: float) -> float:
        if 0.0 < temperature < MIN_TEMPERATURE:
            raise ValueError(f"must be 0 (greedy) or at least {MIN_TEMPERATURE}")
        return temperature


class ServiceStatus(_Schema):
    """``GET /healthz`` and ``GET /readyz``."""

    status: Literal["alive", "ready"]
    """``alive`` from ``/healthz``, ``ready`` from ``/readyz``."""


class ModelInfo(_Schema):
    """``GET /v1/model``."""

    model: str
    """The model's folder or name, as the service was started with it."""
    backend: str
    """The engine that computes: ``vllm`` or ``transformers``."""
    dtype: str
    """The number type of the model's weights, such as ``bfloat16``."""
    vocab_size: int
    """The number of token ids: every id in a request or an answer is smaller."""
    max_model_len: int
    """The length of the longest sequence, in tokens, with those to be written."""
    max_top_k: int
    """The largest ``top_k``. If it equals ``vocab_size``, -1 is allowed."""
    max_request_tokens: int
    """The largest number of tokens in one request: those sent, and the ``max_tokens`` of its prompts."""
    tokenizer_sha256: str
    """The fingerprint of the tokenizer: 64 hexadecimal digits. Tokenizers with the same one spell text alike."""
    max_request_sequences: int = 128
    """The largest number of sequences or prompts in one request. Services that do not report it take 128."""
    max_request_logprobs: int | None = None
    """The largest product of rows and ``top_k`` + 1 in one request, by the service's memory; None if not reported."""
    stop_token_ids: list[int] = []
    """The tokens that end a completion by the files of the teacher's model folder; empty if not reported."""


class ErrorDetail(_Schema):
    """One error."""

    code: str
    """A stable name for programs."""
    message: str
    """A sentence for people."""
    field: str | None = None
    """The dotted path of the field at fault, such as ``sequences.0.start``, or the name of a header. It is left out if
    no field is at fault."""


class ErrorBody(_Schema):
    """The body of every answer that is not a 2xx."""

    error: ErrorDetail
    """What is wrong."""


FinishReason = Literal["stop", "length"]
LogprobsDtype = Literal["float32", "float16"]
"""The number type of log-probabilities on the network."""


@dataclass(frozen=True)
class SequenceAnswer:
    """The answer to one sequence.

    ``token_ids [tokens]`` int32: the tokens scored from ``start`` on, or the generated tokens;
    ``token_logprobs [tokens]`` float32: the log-probabilities of these tokens; ``top_ids [rows, k]`` int32 and
    ``top_logprobs [rows, k]`` float32: the candidates by falling log-probability; ``finish_reason``: for generated
    sequences only.
    """

    token_ids: NDArray[np.int32]
    token_logprobs: NDArray[np.float32]
    top_ids: NDArray[np.int32]
    top_logprobs: NDArray[np.float32]
    finish_reason: FinishReason | None = None

    def distributions(self, vocab_size: int) -> TopK:
        """The rows as ``TopK``."""
        return TopK(
            torch.from_numpy(self.top_ids.astype(np.int64)), torch.from_numpy(self.top_logprobs), vocab_size
        )

    def to_document(self) -> dict[str, object]:
        """The answer under the contract's names, with arrays in C order, for a JSON writer that takes arrays."""
        document: dict[str, object] = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        if self.finish_reason is not None:
            document["finish_reason"] = self.finish_reason
        return document


_ARRAYS = {
    "token_ids": np.int32,
    "token_logprobs": np.float32,
    "top_ids": np.int32,
    "top_logprobs": np.float32,
}


def safetensors_type(dtype: LogprobsDtype = "float32") -> str:
    """The media type that a client accepts: safetensors, with log-probabilities of type ``dtype``."""
    return SAFETENSORS_TYPE if dtype == "float32" else f"{SAFETENSORS_TYPE};logprobs={dtype}"


def answers_to_safetensors(answers: Sequence[SequenceAnswer], dtype: LogprobsDtype = "float32") -> bytes:
    """All answers as one blob: each array is concatenated over the sequences and stored with their lengths.

    ``dtype`` is the number type of the log-probabilities. float16 keeps 11 bits of each log-probability.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        name: np.concatenate([getattr(answer, name) for answer in answers]).astype(
            dtype if array_dtype is np.float32 else array_dtype, copy=False
        )
        for name, array_dtype in _ARRAYS.items()
    }
    arrays["num_tokens"] = np.array([len(answer.token_ids) for answer in answers], dtype=np.int32)
    arrays["num_rows"] = np.array([len(answer.top_ids) for answer in answers], dtype=np.int32)
    reasons = json.dumps([answer.finish_reason for answer in answers])
    return save_safetensors(arrays, metadata={"finish_reasons": reasons})


def answers_from_safetensors(blob: bytes) -> list[SequenceAnswer]:
    """The inverse of ``answers_to_safetensors``, always in float32. Raises ``TeacherProtocolError`` for other bytes."""
    try:
        arrays = load_safetensors(blob)
        arrays |= {name: arrays[name].astype(dtype, copy=False) for name, dtype in _ARRAYS.items()}
        reasons = json.loads(safetensors_metadata(blob)["finish_reasons"])
        token_ends, row_ends = np.cumsum(arrays["num_tokens"]), np.cumsum(arrays["num_rows"])
        _check_lengths(arrays, int(token_ends[-1]), int(row_ends[-1]))
        answers = [
            SequenceAnswer(token_ids, token_logprobs, top_ids, top_logprobs, reason)
            for token_ids, token_logprobs, top_ids, top_logprobs, reason in zip(
                np.split(arrays["token_ids"], token_ends[:-1]),
                np.split(arrays["token_logprobs"], token_ends[:-1]),
                np.split(arrays["top_ids"], row_ends[:-1]),
                np.split(arrays["top_logprobs"], row_ends[:-1]),
                reasons,
                strict=True,
            )
        ]
    except (SafetensorError, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise TeacherProtocolError(f"the teacher's safetensors answer cannot be read: {error!r}") from error
    return answers


def _check_lengths(arrays: dict[str, NDArray[np.generic]], num_tokens: int, num_rows: int) -> None:
    """Raises if the lengths do not fit, because ``np.split`` would silently return short or empty arrays."""
    for name, expected in zip(_ARRAYS, (num_tokens, num_tokens, num_rows, num_rows), strict=True):
        if len(arrays[name]) != expected:
            raise ValueError(f"{name} holds {len(arrays[name])} rows and not {expected}")


def safetensors_metadata(blob: bytes) -> dict[str, str]:
    """The string metadata in a safetensors header, which ``safetensors.numpy.load`` does not return."""
    header_length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + header_length])
    return dict(header.get("__metadata__", {}))


def answers_from_json(document: object) -> list[SequenceAnswer]:
    """Answers from the JSON form. Raises ``TeacherProtocolError`` if an array is missing or ragged."""
    try:
        return [
            SequenceAnswer(
                np.array(item["token_ids"], dtype=np.int32),
                np.array(item["token_logprobs"], dtype=np.float32),
                np.array(item["top_ids"], dtype=np.int32),
                np.array(item["top_logprobs"], dtype=np.float32),
                item.get("finish_reason"),
            )
            for item in document["sequences"]  # type: ignore[index]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise TeacherProtocolError(f"the teacher's JSON answer cannot be read: {error!r}") from error
