"""The connections to a teacher, as its configuration describes them: addresses, key, headers, timeouts."""

import asyncio

import httpx

from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.wire import JSON_TYPE, TIMEOUT_HEADER, safetensors_type
from adaswitch.teachers.address import all_urls as all_urls
from adaswitch.teachers.address import key_header
from adaswitch.teachers.replicas import ReplicaTransport

Transport = httpx.AsyncBaseTransport
"""What carries a client's requests. Tests pass a transport that calls the service in the same process."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """Limits each whole answer over ``inner`` to ``timeout_s``; httpx's own limits are for each piece of an answer."""

    def __init__(self, inner: httpx.AsyncBaseTransport, timeout_s: float) -> None:
        self._inner = inner
        self._timeout_s = timeout_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, with its whole body. Raises ``httpx.ReadTimeout`` if that takes too long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._inner.handle_async_request(request)
                await response.aread()
        except TimeoutError:
            raise httpx.ReadTimeout(f"no whole answer within {self._timeout_s:g} s") from None
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def http_client(
    config: TeacherConfig, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """The HTTP client that ``config`` describes. The key comes from the environment variable that ``config`` names.

    Raises ``ConfigError`` for an address that is not valid, and for a key that no HTTP header can hold.
    """
    urls = all_urls(config)
    # No limit: if a request is cancelled too early, httpcore counts its connection for ever (its issue 1093), and a
    # pool full of such connections sends nothing. Clients send few requests at once, and the service limits them.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    bounded = BoundedTransport(
        transport or httpx.AsyncHTTPTransport(limits=limits),
        config.connect_timeout_s + config.request_timeout_s,
    )
    return httpx.AsyncClient(
        base_url=config.url,
        headers=headers_of(config),
        timeout=httpx.Timeout(config.request_timeout_s, connect=config.connect_timeout_s),
        transport=ReplicaTransport(urls, bounded) if config.replicas else bounded,
    )


def headers_of(config: TeacherConfig) -> dict[str, str]:
    """The headers of every request: the key, the form of answers, and the seconds after which the client gives up."""
    headers = {"Accept": safetensors_type(config.logprobs), "Content-Type": JSON_TYPE}
    if config.api == "native":
        headers[TIMEOUT_HEADER] = f"{config.request_timeout_s:g}"
    return headers | key_header(config)
