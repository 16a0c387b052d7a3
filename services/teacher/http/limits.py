"""Checks the size, the lengths and the numbers of a request before the engine sees it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from fastapi import Request
from pydantic import BaseModel, ValidationError

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.wire import GenerateRequest, ModelInfo, ScoreRequest
from services.teacher.http.deadline import Deadline
from services.teacher.http.errors import ApiError, from_validation, out_of_range

SLACK = 10_000
"""How many more braces, brackets, colons or commas than the largest request a body may have. So few are read fast."""
MAX_DIGITS = 18
"""Most digits of a Content-Length header."""
Schema = TypeVar("Schema", bound=BaseModel)


async def read_body(
    request: Request, config: TeacherServiceConfig, deadline: Deadline, take: Callable[[int], None]
) -> bytes:
    """Read the whole body.

    Raises a 413 as soon as the body is known to be too long, a 408 if it arrives too slowly, and a 504 if the
    request's own deadline passes first. ``take`` is called with the number of bytes of every part, and may raise.
    """
    declared = request.headers.get("content-length", "")
    # A number with more digits is too large in any case, and it is slow to convert.
    if declared.isdecimal() and (len(declared) > MAX_DIGITS or int(declared) > config.max_body_bytes):
        raise _too_large(config.max_body_bytes)
    try:
        async with asyncio.timeout(min(config.body_timeout_s, deadline.left_s)):
            return await _whole_body(request, config, take)
    except TimeoutError:
        if not deadline.left_s:
            raise deadline.passed({"Connection": "close"}) from None
        message = f"the body did not come within {config.body_timeout_s:g} s"
        raise ApiError("body_timeout", message, headers={"Connection": "close"}) from None


async def _whole_body(request: Request, config: TeacherServiceConfig, take: Callable[[int], None]) -> bytes:
    body = bytearray()
    structure = _Structure(config)
    async for part in request.stream():
        take(len(part))
        body += part
        if len(body) > config.max_body_bytes:
            raise _too_large(config.max_body_bytes)
        structure.add(part)
    return bytes(body)


def _too_large(max_bytes: int) -> ApiError:
    # The rest of the body is never read, so no other request can follow on this connection.
    message = f"the body is longer than {max_bytes} bytes"
    return ApiError("body_too_large", message, headers={"Connection": "close"})


class _Structure:
    """Raises a 422 for a body with more objects, lists, keys or values than the largest request can have.

    Parsing such a body would take much time and memory. It is enough to count braces, brackets, colons and commas:
    a valid body has no strings as values, so all of these characters belong to JSON's own structure.
    """

    def __init__(self, config: TeacherServiceConfig) -> None:
        num_sequences = config.max_request_sequences
        self._limits = {
            b"{": 2 * num_sequences + SLACK,
            b"[": 4 * num_sequences + SLACK,
            b":": 8 * num_sequences + SLACK,
            b",": 4 * config.max_request_tokens + 8 * num_sequences + SLACK,
        }
        self._left = dict(self._limits)

    def add(self, part: bytes) -> None:
        """Count one more part of the body. Raises as soon as all parts so far exceed a limit."""
        for mark, limit in self._limits.items():
            self._left[mark] -= part.count(mark)
            if self._left[mark] < 0:
                message = (
                    f"the body has more than {limit} times {mark.decode()!r}, as no request has that is taken"
                )
                raise ApiError("out_of_range", message, headers={"Connection": "close"})


def parse(schema: type[Schema], body: bytes) -> Schema:
    """``body`` as ``schema``. Raises a 400 if it is not JSON, a 422 with the field if it does not fit the schema."""
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise from_validation(error) from None


def check_score(request: ScoreRequest, info: ModelInfo, config: TeacherServiceConfig) -> ScoreRequest:
    """``request``, in which a ``top_k`` of -1 becomes the vocabulary's size. Raises a 422 if a limit is exceeded."""
    _check_count("sequences", len(request.sequences), config)
    _check_total("sequences", sum(len(s.token_ids) for s in request.sequences), info)
    for i, sequence in enumerate(request.sequences):
        field = f"sequences.{i}.token_ids"
        if len(sequence.token_ids) + 1 > info.max_model_len:
            raise out_of_range(
                field,
                f"{field}: {len(sequence.token_ids)} tokens, and one that may come next, are more than the "
                f"{info.max_model_len} that the model takes",
            )
        _check_token_ids(field, sequence.token_ids, info.vocab_size)
    return request.model_copy(update={"top_k": _resolve_top_k(request.top_k, info)})


def check_generate(
    request: GenerateRequest, info: ModelInfo, config: TeacherServiceConfig
) -> GenerateRequest:
    """``request``, in which a ``top_k`` of -1 becomes the vocabulary's size. Raises a 422 if a limit is exceeded."""
    _check_count("prompts", len(request.prompts), config)
    _check_total("prompts", sum(len(p.token_ids) + p.max_tokens for p in request.prompts), info)
    for i, prompt in enumerate(request.prompts):
        if len(prompt.token_ids) + prompt.max_tokens > info.max_model_len:
            field = f"prompts.{i}.max_tokens"
            raise out_of_range(
                field,
                f"{field}: {prompt.max_tokens} after a prompt of {len(prompt.token_ids)} are more than the "
                f"{info.max_model_len} that the model takes",
            )
        _check_token_ids(f"prompts.{i}.token_ids", prompt.token_ids, info.vocab_size)
        _check_token_ids(f"prompts.{i}.stop_token_ids", prompt.stop_token_ids, info.vocab_size)
    return request.model_copy(update={"top_k": _resolve_top_k(request.top_k, info)})


def _check_count(field: str, count: int, config: TeacherServiceConfig) -> None:
    if count > config.max_request_sequences:
        raise out_of_range(
            field, f"{field}: {count} are more than the {config.max_request_sequences} that a request holds"
        )


def _check_total(field: str, num_tokens: int, info: ModelInfo) -> None:
    if num_tokens > info.max_request_tokens:
        raise out_of_range(
            field,
            f"{field}: {num_tokens} tokens are more than the {info.max_request_tokens} that a request holds",
        )


def _check_token_ids(field: str, token_ids: Sequence[int], vocab_size: int) -> None:
    beyond = np.flatnonzero(np.array(token_ids, dtype=np.int64) >= vocab_size)
    if len(beyond):
        place = f"{field}.{beyond[0]}"
        message = f"{place}: token {token_ids[beyond[0]]} is not in the vocabulary of {vocab_size} tokens"
        raise out_of_range(place, message)


def _resolve_top_k(top_k: int, info: ModelInfo) -> int:
    wanted = info.vocab_size if top_k == -1 else top_k
    if wanted > info.max_top_k:
        raise out_of_range("top_k", f"top_k: {top_k} is more than the {info.max_top_k} that are served")
    return wanted
