"""Several addresses of one teacher behind a single client: a transport of httpx that picks one for each request.

A request goes to the replica with the least work under way. A replica that is lost (it does not answer, its engine
is gone, or it drains) is left out for a while that grows with every loss, and is taken back as soon as it answers
again; the request goes to the next replica at once. If a replica is full, the request goes to the next replica too,
but the full replica is not left out. Any other answer is passed on to the client. Only if no replica can work does
the client see the failure, and waits.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx

from adaswitch.teachers.errors import is_lost, retry_after_s

FIRST_ABSENCE_S = 0.5
LONGEST_ABSENCE_S = 15.0
REPLICA = "adaswitch.replica"
"""Key of an httpx extension. In a request: the only address that may answer. In an answer: the address it is from."""
TOO_MANY_REQUESTS = 429


class Replica:
    """One address of the teacher, and what is known of the replica there."""

    def __init__(self, url: str) -> None:
        self.name = url
        self.url = httpx.URL(url)
        self.work = 0
        """Bytes of the requests under way, a good enough measure of their tokens."""
        self.back_at_s = 0.0
        """The replica is left out until this time, in seconds."""
        self.num_losses = 0
        self._absence_s = FIRST_ABSENCE_S

    @asynccontextmanager
    async def working(self, amount: int) -> AsyncIterator[None]:
        """Count ``amount`` of work as under way inside the ``with`` block."""
        self.work += amount
        try:
            yield
        finally:
            self.work -= amount

    def leave_out(self, now_s: float, num_losses: int, wished_s: float | None = None) -> None:
        """Leave the lost replica out, for twice as long as the last time, and at least ``wished_s`` seconds.

        ``num_losses`` is the number of losses when the request was sent: requests that were under way together are
        lost together, and count as one loss.
        """
        if num_losses != self.num_losses:
            return
        self.num_losses += 1
        self.back_at_s = now_s + max(self._absence_s, wished_s or 0.0)
        self._absence_s = min(2 * self._absence_s, LONGEST_ABSENCE_S)

    def take_back(self, num_losses: int) -> None:
        """Take the replica back, as it has answered a request that was sent after ``num_losses`` losses.

        If the replica was lost again since then, the answer says nothing, and the replica stays left out.
        """
        if num_losses == self.num_losses:
            self.back_at_s, self._absence_s = 0.0, FIRST_ABSENCE_S


class ReplicaTransport(httpx.AsyncBaseTransport):
    """Sends each request over ``inner`` to one of ``urls``. Requests come in addressed to the first of ``urls``."""

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
        """The first answer of a replica that can work, else the last refusal, else the last failure."""
        response: httpx.Response | None = None
        failure: httpx.TransportError | None = None
        turn = self._in_turn(request.extensions.get(REPLICA))
        for replica, num_losses in [(replica, replica.num_losses) for replica in turn]:
            if replica.num_losses != num_losses:
                continue  # the replica was lost while this request was at another
            try:
                response = await self._ask(replica, request)
            except httpx.TransportError as error:
                failure = error
                replica.leave_out(self._clock(), num_losses)
                continue
            if is_lost(response):
                replica.leave_out(self._clock(), num_losses, retry_after_s(response))
                continue
            replica.take_back(num_losses)
            if response.status_code != TOO_MANY_REQUESTS:
                return response
        if response is not None:
            return response
        assert failure is not None
        raise failure

    async def _ask(self, replica: Replica, request: httpx.Request) -> httpx.Response:
        async with replica.working(len(await request.aread()) + 1):
            response = await self._inner.handle_async_request(self._addressed(request, replica.url))
            # The body is read here, as the work is under way until the whole answer has arrived.
            await response.aread()
        response.extensions[REPLICA] = replica.name
        return response

    def _in_turn(self, only: str | None) -> list[Replica]:
        """The replicas to try in turn: ``only`` that one, if it is given; else those not left out, least work first.

        If all are left out, the replica that comes back first.
        """
        if only is not None:
            return [replica for replica in self.replicas if replica.name == only][:1]
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
