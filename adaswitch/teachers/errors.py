"""What a failure of a teacher means: which exception to raise, whether to ask again, whether the teacher is lost."""

import math

import httpx
from pydantic import ValidationError

from adaswitch.contract.wire import ErrorBody, ErrorDetail
from adaswitch.errors import (
    NonFiniteError,
    TeacherError,
    TeacherProtocolError,
    TeacherRejectedError,
    TeacherUnavailableError,
)

UNKNOWN = "unknown"
"""The error code of an answer whose body does not come from our service."""
LOST_CODES = {"engine_lost", "not_ready", "draining"}
RETRYABLE_STATUSES = {408, 429, 502, 503, 504}


def is_retryable(failure: httpx.Response | Exception) -> bool:
    """Whether the same request may succeed later: no teacher was reached, or it was overloaded, draining, cut off."""
    if isinstance(failure, httpx.Response):
        # The same request would give the same NaN again.
        return failure.status_code in RETRYABLE_STATUSES and detail_of(failure).code != "non_finite"
    return isinstance(failure, TeacherUnavailableError | httpx.TransportError)


def is_lost(response: httpx.Response) -> bool:
    """Whether the teacher that sent ``response`` cannot work for a while, and did not just fail on this one request."""
    if response.status_code not in (502, 503):
        return False
    # If the code is not ours, a proxy or another kind of server has answered.
    return detail_of(response).code in LOST_CODES | {UNKNOWN}


def detail_of(response: httpx.Response) -> ErrorDetail:
    """What the error body says, or the first words of a body that does not come from our service."""
    try:
        return ErrorBody.model_validate_json(response.content).error
    except ValidationError:
        return ErrorDetail(code=UNKNOWN, message=response.text[:200].strip() or response.reason_phrase)


def error_of(response: httpx.Response) -> TeacherError | NonFiniteError:
    """The exception for an answer that is not a 2xx."""
    detail = detail_of(response)
    text = f"{response.status_code} {detail.message}"
    if is_retryable(response):
        return TeacherUnavailableError(text, retry_after_s=retry_after_s(response))
    if detail.code == "non_finite":
        return NonFiniteError(f"the teacher refused: {text}")
    if not response.is_client_error:
        return TeacherProtocolError(f"the teacher answered what its contract does not know: {text}")
    hint = f" ({detail.field})" if detail.field else ""
    if response.status_code == 401:
        hint = "; put its key into the environment variable that teacher.api_key_env names"
    return TeacherRejectedError(
        f"the teacher refused: {text}{hint}",
        status=response.status_code,
        code=detail.code,
        field=detail.field,
    )


def retry_after_s(response: httpx.Response) -> float | None:
    """The seconds that the header Retry-After asks for, or None. The service never sends its other form, a date."""
    try:
        wished_s = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    return max(0.0, wished_s) if math.isfinite(wished_s) else None
