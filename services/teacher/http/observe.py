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
"""Routes that machines ask every few seconds. Requests to them are counted, but not logged."""
ROUTES = {*QUIET_ROUTES, "/openapi.json", "/v1/model", "/v1/score", "/v1/generate"}
"""The paths with a metric series of their own. All others share one, so that made-up paths add no series."""
logger = logging.getLogger(__name__)
_USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class ObserveMiddleware:
    """Gives every HTTP request an id, which the answer carries too, and counts, times and logs the request."""

    def __init__(
        self, app: ASGIApp, metrics: TeacherMetrics, log: Callable[[str], None] = lambda line: None
    ) -> None:
        """``log`` is called with one line for each request, which is a JSON object."""
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
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
                # The program that reads the log may have ended; requests must still be answered.
                with contextlib.suppress(OSError):
                    self._log(_line(scope, request_id, route, code, seconds, num_bytes))


def _route(scope: Scope) -> str:
    """The path if it is in ``ROUTES``, even if the request was refused for its key; else ``other``."""
    return scope["path"] if scope["path"] in ROUTES else "other"


def _request_id(scope: Scope) -> str:
    """The client's own id if it is short plain text, so that a client cannot forge log lines; else a new id."""
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
