"""HTTP on a connection, guarded: against clients that are silent, endless or hasty, before any key is looked at."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from adaswitch.contract.wire import JSON_TYPE
from services.teacher.http.errors import ApiError

ABORT = "adaswitch.abort"
"""In a request's scope: a function that drops its connection at once, with what was not taken of the answer."""


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be, and how long and how large a request's headers."""

    max_connections: int
    header_timeout_s: float
    max_header_bytes: int = 64 * 2**10


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's own, with ``limits``. A connection beyond their number is dropped.

    A request that comes before the one ahead of it is answered is not read: its connection ends with that answer,
    as HTTP allows. uvicorn would stop reading altogether, and not see that the client hangs up.
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
        """One more, if there is room for it; its first request is waited for from now on."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            transport.abort()
            return
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Of a request's headers, its body, or what nobody asked for."""
        if self._deaf:
            return
        self._ended = False
        super().data_received(data)
        # Where a request ended in this piece, it was a body's.
        if self._in_headers and not self._ended and not self.transport.is_closing():
            self._num_header_bytes += len(data)
            if self._num_header_bytes > self._limits.max_header_bytes:
                self._refuse(
                    431, "headers_too_large", f"more than {self._limits.max_header_bytes} bytes of headers"
                )

    def on_message_begin(self) -> None:
        """A request's first bytes."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self._deaf = True
        super().on_message_begin()
        self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]
        if self._timer is None and not self._deaf:
            self._expect_headers()

    def on_headers_complete(self) -> None:
        """The request begins."""
        self._in_headers = False
        self._stop_timer()
        if not self._deaf:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of it."""
        if not self._deaf:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it; headers come next."""
        self._in_headers, self._ended, self._num_header_bytes = True, True, 0
        if not self._deaf:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused in the contract's form."""
        self._refuse(400, "not_http", msg)

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
            self._refuse(408, "headers_timeout", f"the request's headers did not come within {seconds}")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer, and close."""
        self._deaf = True
        body = bytes(ApiError(status, code, message).response().body)
        headers = f"content-type: {JSON_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + headers.encode() + body)
        self.transport.close()


def guarded(limits: ConnectionLimits) -> Any:  # noqa: ANN401 - what uvicorn calls to make a protocol
    """For uvicorn's ``http``."""
    return partial(GuardedProtocol, limits)
