"""What operators see of each request: its id, a line in the log, and the metrics."""

import contextlib
import json
import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adaswitch.contract.wire import REQUEST_ID_HEADER
from services.teacher.http.errors import internal
from services.teacher.http.metrics import TeacherMetrics

QUIET_ROUTES = {"/healthz", "/readyz", "/metrics"}
"""Asked by machines every few seconds: counted, and not logged."""
ROUTES = {*QUIET_ROUTES, "/openapi.json", "/v1/model", "/v1/score", "/v1/generate"}
"""So that made-up paths make no new series."""
logger = logging.getLogger(__name__)
_USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class ObserveMiddleware:
    """Gives every HTTP request an id, which its answer carries, then counts, times and logs it."""

    def __init__(
        self, app: ASGIApp, metrics: TeacherMetrics, log: Callable[[str], None] = lambda line: None
    ) -> None:
        """``log`` gets one JSON object a request, as a line."""
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s = time.perf_counter()
        request_id = _request_id(scope)
        code, num_bytes = 0, 0

        async def send_and_note(message: Message) -> None:
            nonlocal code, num_bytes
            if message["type"] == "http.response.start":
                code = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            num_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            logger.exception("request %s", request_id)
            if code:
                raise
            await internal().response()(scope, receive, send_and_note)
        finally:
            seconds = time.perf_counter() - start_s
            route = _route(scope)
            self._metrics.requests.labels(route, str(code)).inc()
            self._metrics.latency.labels(route).observe(seconds)
            if route not in QUIET_ROUTES:
                # Whoever read the log may be gone, and requests go on.
                with contextlib.suppress(OSError):
                    self._log(_line(scope, request_id, route, code, seconds, num_bytes))


def _route(scope: Scope) -> str:
    """The path if it is a route's, even where the request came no further than to its key; else one for all."""
    return scope["path"] if scope["path"] in ROUTES else "other"


def _request_id(scope: Scope) -> str:
    """The client's own where it is plain text of a sane length, so that a log cannot be forged; else a new one."""
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex


def _line(scope: Scope, request_id: str, route: str, code: int, seconds: float, num_bytes: int) -> str:
    client = scope.get("client")
    record = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "request_id": request_id,
        "client": client[0] if client else None,
        "method": scope["method"],
        "route": route,
        "code": code,
        "seconds": round(seconds, 6),
        "bytes": num_bytes,
    }
    return json.dumps(record)
