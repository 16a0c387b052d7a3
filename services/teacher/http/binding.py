"""The address that the service listens on. Imports nothing that takes long, to fail at once if it must."""

import ipaddress
import socket

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import EnvironmentProblem


def check_binding(config: TeacherServiceConfig, has_keys: bool) -> None:
    """Raises ``EnvironmentProblem`` where the service would stand open to others."""
    if not has_keys and not config.insecure and not _is_loopback(config.host):
        raise EnvironmentProblem(
            f"host: {config.host} can be reached from other machines; set ADASWITCH_API_KEY or "
            "--api-keys-file, bind 127.0.0.1, or pass --insecure"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(config: TeacherServiceConfig) -> socket.socket:
    """The listening socket. Raises ``EnvironmentProblem`` where the port is occupied."""
    bound = None
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        # asyncio switches Nagle's algorithm off for sockets that name their protocol only: with it every answer
        # would wait some 40 ms for the client's acknowledgement of its headers.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((config.host, config.port))
        # From here on nobody else can take the port. Until the app answers, clients wait in the backlog.
        bound.listen(2048)
    except OSError as error:
        if bound is not None:
            bound.close()
        raise EnvironmentProblem(
            f"port: cannot listen on {config.host}:{config.port} ({error.strerror or error}); "
            "choose another one with --port"
        ) from None
    return bound
