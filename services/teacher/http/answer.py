"""Encodes an answer as the client accepts it, and holds its request's place and memory until the client has it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import orjson
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from adaswitch.contract.wire import JSON_TYPE, SAFETENSORS_TYPE, SequenceAnswer, answers_to_safetensors
from services.teacher.http.protocol import ABORT

PART_BYTES = 256 * 2**10
"""Bytes handed to the connection at a time. The next part waits until the client has taken most of this part."""


class HeldAnswer(Response):
    """A response whose request keeps its place and its memory until the client has the body, or is cut off."""

    def __init__(
        self,
        content: bytes,
        media_type: str,
        held: AsyncExitStack,
        timeout_s: float,
        on_cut_off: Callable[[], None] = lambda: None,
    ) -> None:
        """``held`` is closed at the end. After ``timeout_s`` seconds the client is cut off, and ``on_cut_off`` runs."""
        super().__init__(content, media_type=media_type)
        self._held = held
        self._timeout_s = timeout_s
        self._on_cut_off = on_cut_off

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        async with self._held:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._send(send)
            except TimeoutError:
                self._on_cut_off()
                scope.get(ABORT, lambda: None)()
                # uvicorn learns only in the event loop's next round that the connection is gone.
                await asyncio.sleep(0)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = memoryview(self.body)
        for start in range(0, len(body), PART_BYTES):
            part = bytes(body[start : start + PART_BYTES])
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def encoded(answers: Sequence[SequenceAnswer], request: Request) -> tuple[bytes, str]:
    """The encoded answers and their media type: safetensors if the client's Accept header names it, else JSON."""
    for part in request.headers.get("accept", "").lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind == SAFETENSORS_TYPE:
            half = "logprobs=float16" in parameters
            return answers_to_safetensors(answers, "float16" if half else "float32"), SAFETENSORS_TYPE
    document = {"sequences": [answer.to_document() for answer in answers]}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), JSON_TYPE
