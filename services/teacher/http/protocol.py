"""Guards each HTTP connection before any key is checked.

The guards are for clients that stay silent, that send headers without end, or that do not wait for their answer.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from adaswitch.contract.wire import JSON_TYPE
from services.teacher.http.errors import ApiError

ABORT = "adaswitch.abort"
"""Key in a request's scope: a function that drops the connection at once, and the rest of the answer with it."""


@dataclass(frozen=True)
class ConnectionLimits:
    """The most connections, and the most seconds and bytes that the headers of a request may take."""

    max_connections: int
    header_timeout_s: float
    max_header_bytes: int = 64 * 2**10


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with ``limits``. A connection beyond the allowed number is dropped.

    A request that arrives before the previous request on its connection is answered is not read: the connection is
    closed after the previous answer, as HTTP allows. uvicorn alone would stop reading from the connection, and would
    not notice that the client hangs up.
    """

    def __init__(self, limits: ConnectionLimits, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._num_header_bytes = 0
        self._in_headers = True
        self._ended = False
        self._deaf = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection if there is room for it, and wait for the headers of its first request."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            transport.abort()
            return
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for headers."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read the next bytes of a request, and count the bytes of its headers. After a refusal, ignore all bytes."""
        if self._deaf:
            return
        self._ended = False
        super().data_received(data)
        # If a request ended in this piece of data, the piece was part of a body and not of headers.
        if self._in_headers and not self._ended and not self.transport.is_closing():
            self._num_header_bytes += len(data)
            if self._num_header_bytes > self._limits.max_header_bytes:
                self._refuse(
                    "headers_too_large", f"more than {self._limits.max_header_bytes} bytes of headers"
                )

    def on_message_begin(self) -> None:
        """Begin a request, unless the previous one is not answered yet."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self._deaf = True
        super().on_message_begin()
        self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]
        if self._timer is None and not self._deaf:
            self._expect_headers()

    def on_headers_complete(self) -> None:
        """Stop waiting for headers, and start the request unless they are too long, as they can be in one piece."""
        self._in_headers = False
        self._stop_timer()
        if self._deaf:
            return
        num_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if num_bytes > self._limits.max_header_bytes:
            self._refuse_headers()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the request's body."""
        if not self._deaf:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request: the next bytes are headers."""
        self._in_headers, self._ended, self._num_header_bytes = True, True, 0
        if not self._deaf:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP, in the contract's form."""
        self._refuse("not_http", msg)

    def _expect_headers(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_timeout_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            seconds = f"{self._limits.header_timeout_s:g} s"
            self._refuse("headers_timeout", f"the request's headers did not come within {seconds}")

    def _refuse_headers(self) -> None:
        self._refuse("headers_too_large", f"more than {self._limits.max_header_bytes} bytes of headers")

    def _refuse(self, code: str, message: str) -> None:
        """Answer with an error, and close the connection."""
        self._deaf = True
        error = ApiError(code, message)
        body = bytes(error.response().body)
        headers = f"content-type: {JSON_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[error.status] + headers.encode() + body)
        self.transport.close()


def guarded(limits: ConnectionLimits) -> Any:  # noqa: ANN401 - what uvicorn calls to make a protocol
    """The protocol with ``limits``, for uvicorn's setting ``http``."""
    return partial(GuardedProtocol, limits)
