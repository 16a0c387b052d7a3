"""Several addresses of one teacher behind a single client: a transport of httpx that picks one for each request.

A request goes to the replica with the least work under way. One that does not answer, or cannot take work, is
left out for a while that grows with every failure, and taken back as soon as it answers again; the request goes
to the next one at once. Only if none is left does the client see the failure, and waits.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx

UNAVAILABLE = {429, 502, 503}
FIRST_ABSENCE_S = 0.5
LONGEST_ABSENCE_S = 15.0


class Replica:
    """One address, and what is known of it."""

    def __init__(self, url: str) -> None:
        self.url = httpx.URL(url)
        self.work = 0
        """Bytes of the requests under way: their tokens, near enough."""
        self.back_at_s = 0.0
        """It is left out until then."""
        self._absence_s = FIRST_ABSENCE_S

    @asynccontextmanager
    async def working(self, amount: int) -> AsyncIterator[None]:
        """``amount`` of work is under way there."""
        self.work += amount
        try:
            yield
        finally:
            self.work -= amount

    def leave_out(self, now_s: float) -> None:
        """It did not answer: for twice as long as the last time."""
        self.back_at_s = now_s + self._absence_s
        self._absence_s = min(2 * self._absence_s, LONGEST_ABSENCE_S)

    def take_back(self) -> None:
        """It answers."""
        self.back_at_s, self._absence_s = 0.0, FIRST_ABSENCE_S


class ReplicaTransport(httpx.AsyncBaseTransport):
    """Sends each request, made for the first of ``urls``, to one of them over ``inner``."""

    def __init__(
        self,
        urls: Sequence[str],
        inner: httpx.AsyncBaseTransport,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.replicas = [Replica(url) for url in urls]
        self._inner = inner
        self._prefix = self.replicas[0].url.path.rstrip("/").encode()
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The first answer of a replica that can work, else the last failure."""
        response: httpx.Response | None = None
        failure: httpx.TransportError | None = None
        for replica in self._in_turn():
            try:
                async with replica.working(len(await request.aread()) + 1):
                    response = await self._inner.handle_async_request(self._addressed(request, replica.url))
                    # Read within: until its answer is here, the work is under way.
                    await response.aread()
            except httpx.TransportError as error:
                failure = error
                replica.leave_out(self._clock())
                continue
            if response.status_code not in UNAVAILABLE:
                replica.take_back()
                return response
            replica.leave_out(self._clock())
        if response is not None:
            return response
        assert failure is not None
        raise failure

    def _in_turn(self) -> list[Replica]:
        """Those that are there by their work; if there is none, the one that is due first."""
        now_s = self._clock()
        there = [replica for replica in self.replicas if replica.back_at_s <= now_s]
        if there:
            return sorted(there, key=lambda replica: replica.work)
        return [min(self.replicas, key=lambda replica: replica.back_at_s)]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    def _addressed(self, request: httpx.Request, url: httpx.URL) -> httpx.Request:
        """``request`` for the replica at ``url``."""
        path = url.path.rstrip("/").encode() + request.url.raw_path.removeprefix(self._prefix)
        target = request.url.copy_with(scheme=url.scheme, host=url.host, port=url.port, raw_path=path)
        headers = httpx.Headers(request.headers)
        headers["Host"] = target.netloc.decode()
        return httpx.Request(
            request.method, target, headers=headers, content=request.content, extensions=request.extensions
        )
