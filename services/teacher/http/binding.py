"""Checks and binds the address that the service listens on. Imports nothing slow, so that a failure comes at once."""

import socket

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.keys import require_key
from adaswitch.errors import EnvironmentProblem


def check_binding(config: TeacherServiceConfig, has_keys: bool) -> None:
    """Raises ``EnvironmentProblem`` if other machines could reach the service without a key (save if ``insecure``)."""
    require_key(config.host, has_keys, config.insecure)


def bind(config: TeacherServiceConfig) -> socket.socket:
    """The listening socket. Raises ``EnvironmentProblem`` if it cannot listen, as when the port is taken."""
    bound = None
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        # asyncio switches Nagle's algorithm off only for a socket that names its protocol. With the algorithm on,
        # the body of every answer would wait some 40 ms, until the client has acknowledged the headers.
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
