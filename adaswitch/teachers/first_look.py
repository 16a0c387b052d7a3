"""One quick try to reach a run's teacher, before anything is started. Imports nothing slow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from adaswitch.config.teacher import TeacherConfig
from adaswitch.errors import TeacherProtocolError, TeacherRejectedError
from adaswitch.teachers.address import all_urls, key_header

TRY_TIMEOUT_S = 1.0
"""The number of seconds for a connection, and for each part of an answer."""
PATHS = {"native": "/v1/model", "openai": "/v1/models"}
MAY_PASS = (408, 429, 500, 502, 503, 504)
"""Statuses after which the same teacher, or the one that a proxy waits for, may be there later."""


@dataclass(frozen=True)
class Seen:
    """What a teacher that answers says of itself, as far as a run is checked against it."""

    url: str
    model: str
    tokenizer_sha256: str | None
    """None for a server that has no such fingerprint."""
    max_model_len: int | None
    """The longest sequence in tokens."""


def look_at_teacher(
    config: TeacherConfig, say: Callable[[str], None], transport: httpx.BaseTransport | None = None
) -> Seen | None:
    """Ask the teacher once what it serves; the first of its addresses that answers counts.

    Returns None if none answers or is ready, which is said: a teacher may be started later than the run, and the
    students wait for it. Raises ``ConfigError`` for a wrong address, and ``TeacherError`` for an answer that no waiting
    changes: a key that is refused, or a server that is no teacher.
    """
    path, headers = PATHS[config.api], key_header(config)
    reasons: list[str] = []
    with httpx.Client(timeout=TRY_TIMEOUT_S, transport=transport, headers=headers) as http:
        for url in all_urls(config):
            try:
                response = http.get(url.rstrip("/") + path)
            except httpx.RequestError as error:
                reasons.append(f"{url}: {str(error) or type(error).__name__}")
                continue
            if response.status_code in MAY_PASS:
                reasons.append(f"{url}: {response.status_code} {_message(response)}")
                continue
            return _seen(response, url, config)
    say(
        f"teacher: none is ready yet ({'; '.join(reasons)}); the students wait for it, up to {config.max_wait_s:g} s. "
        "If none is being started there, stop, and set teacher.url"
    )
    return None


def _seen(response: httpx.Response, url: str, config: TeacherConfig) -> Seen:
    place = url.rstrip("/") + PATHS[config.api]
    if response.status_code in (401, 403):
        raise TeacherRejectedError(
            f"teacher.api_key_env: {place} refuses the key ({response.status_code}): put its key into the environment "
            f"variable {config.api_key_env}",
            status=response.status_code,
            code="unauthorized",
        )
    if not response.is_success:
        raise TeacherProtocolError(
            f"teacher.url: {place} answers {response.status_code}: it is no teacher service"
        )
    try:
        document = response.json()
        return (
            _of_native(document, url) if config.api == "native" else _of_openai(document, url, config.model)
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise TeacherProtocolError(
            f"teacher.url: what {place} answers is not a teacher's ({type(error).__name__}); see teacher.api"
        ) from None


def _of_native(document: dict[str, Any], url: str) -> Seen:
    return Seen(
        url, str(document["model"]), str(document["tokenizer_sha256"]), int(document["max_model_len"])
    )


def _of_openai(document: dict[str, Any], url: str, model: str | None) -> Seen:
    """The entry of ``model``, or the first. Whether ``model`` is served at all is left to the client."""
    entries = document["data"]
    entry = next((entry for entry in entries if entry["id"] == model), entries[0])
    longest = entry.get("max_model_len")
    return Seen(url, str(entry["id"]), None, None if longest is None else int(longest))


def _message(response: httpx.Response) -> str:
    """The message in a teacher's error, or the status in words."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return response.reason_phrase
