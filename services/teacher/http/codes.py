"""Every error that the service answers with: its code, its HTTP status, and on which routes it occurs."""

from dataclasses import dataclass
from enum import StrEnum

RETRY_AFTER = "Retry-After"
AUTHENTICATE = "WWW-Authenticate"
ANSWER_HEADERS = {
    RETRY_AFTER: "The seconds after which the same request may succeed.",
    AUTHENTICATE: "Bearer: the kind of key that is wanted.",
    "Allow": "The methods that the path takes.",
    "Connection": "close: the rest of the request was not read, and the service closes the connection.",
}
"""The headers that answers to errors carry, and what each says."""


class Routes(StrEnum):
    """The routes on which an error can occur."""

    NONE = "none"
    """Paths and methods that the service does not have."""
    ALL = "all"
    """Every route."""
    KEYED = "keyed"
    """Every path under ``/v1``, which want a key once the service has keys."""
    ENGINE = "engine"
    """The routes that answer only while the engine is ready: ``/readyz`` and ``/v1``."""
    WORK = "work"
    """The two routes that let the model compute: ``/v1/score`` and ``/v1/generate``."""


@dataclass(frozen=True)
class ErrorCode:
    """One kind of error. ``headers`` are those that its answers can carry; ``meaning`` is for people."""

    status: int
    routes: Routes
    meaning: str
    headers: tuple[str, ...] = ()


ERROR_CODES: dict[str, ErrorCode] = {
    "not_http": ErrorCode(400, Routes.ALL, "The bytes are not an HTTP request.", ("Connection",)),
    "not_json": ErrorCode(400, Routes.WORK, "The body is not JSON."),
    "unauthorized": ErrorCode(
        401, Routes.KEYED, "The service wants a key, and got none of its own.", (AUTHENTICATE,)
    ),
    "not_found": ErrorCode(404, Routes.NONE, "The service has no such path."),
    "method_not_allowed": ErrorCode(405, Routes.NONE, "The path takes another method.", ("Allow",)),
    "headers_timeout": ErrorCode(
        408, Routes.ALL, "The headers did not arrive within header_timeout_s.", ("Connection",)
    ),
    "body_timeout": ErrorCode(
        408, Routes.WORK, "The body did not arrive within body_timeout_s.", ("Connection",)
    ),
    "body_too_large": ErrorCode(413, Routes.WORK, "The body is longer than max_body_bytes.", ("Connection",)),
    "invalid_field": ErrorCode(
        422, Routes.WORK, "A field is missing, unknown, of the wrong type or out of its range."
    ),
    "out_of_range": ErrorCode(
        422, Routes.WORK, "A field or a header is beyond a limit of this model or service.", ("Connection",)
    ),
    "refused": ErrorCode(422, Routes.WORK, "The engine refused the request, for the reason in the message."),
    "queue_full": ErrorCode(
        429, Routes.WORK, "The service holds max_queued_requests requests.", (RETRY_AFTER,)
    ),
    "memory_full": ErrorCode(
        429,
        Routes.WORK,
        "Other requests hold the memory that this one's log-probabilities need.",
        (RETRY_AFTER,),
    ),
    "bodies_full": ErrorCode(
        429, Routes.WORK, "Bodies that are being read take all of body_memory_mib.", (RETRY_AFTER,)
    ),
    "headers_too_large": ErrorCode(431, Routes.ALL, "The headers are longer than 64 KiB.", ("Connection",)),
    "internal": ErrorCode(
        500, Routes.ALL, "A fault of the service, which is in its log under the request's id."
    ),
    "not_ready": ErrorCode(503, Routes.ENGINE, "The model is being loaded.", (RETRY_AFTER,)),
    "draining": ErrorCode(503, Routes.ENGINE, "The service is shutting down.", (RETRY_AFTER,)),
    "engine_lost": ErrorCode(
        503, Routes.ENGINE, "The engine has died, and the service ends.", (RETRY_AFTER,)
    ),
    "engine_fault": ErrorCode(503, Routes.WORK, "The engine failed on this request, and goes on."),
    "non_finite": ErrorCode(503, Routes.WORK, "The model gave a log-probability that is not finite."),
    "deadline_exceeded": ErrorCode(
        504,
        Routes.WORK,
        "The answer was not ready within request_timeout_s or X-Request-Timeout-S.",
        ("Connection",),
    ),
}
"""By code. A code has one status, and is a stable name for programs."""
