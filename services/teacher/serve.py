"""Runs the app in this process, from the bound socket to the last answer."""

import asyncio
import contextlib
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import AdaSwitchError, ConfigError
from adaswitch.last_words import one_line
from services.teacher.engines.engine import EngineLostError
from services.teacher.http.keys import KeyRing
from services.teacher.http.lifecycle import Phase, Service
from services.teacher.http.protocol import ConnectionLimits, guarded

KEEP_ALIVE_S = 75
OTHER_FILES = 64
"""File descriptors that are kept free for everything but clients: libraries, the engine's sockets, logs."""
GRACE_S = 2
"""Seconds, after draining, for connections that are still open because their request never arrived completely."""


class _Server(uvicorn.Server):
    """A uvicorn server without signal handlers.

    uvicorn's own handlers would refuse new connections at once, while this service shall still answer them with 503.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: ``serve`` handles the signals."""
        yield


async def serve(
    app: FastAPI,
    bound: socket.socket,
    config: TeacherServiceConfig,
    keys: KeyRing,
    say: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT. On SIGHUP, read the file of keys again.

    Raises the ``AdaSwitchError`` that kept the engine from starting. Raises ``EngineLostError`` if the start failed
    for any other reason, or if the running engine has died.
    """
    start_s = time.perf_counter()
    service: Service = app.state.service
    stop = _stop_on_signals()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, keys, say)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            http=guarded(_connection_limits(config)),
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    if not await _first(service.settled, stop, timeout_s=config.slow_start_s):
        say(
            f"error: not ready after {config.slow_start_s:g} s: {config.model} is still being loaded; "
            "more CPUs, a smaller model or more patience (teacher.serve.slow_start_s) may help"
        )
        await _first(service.settled, stop)
    if service.phase is Phase.READY:
        seconds = time.perf_counter() - start_s
        url = f"http://{config.host}:{config.port}"
        say(f"teacher ready at {url}: {config.model} on {config.engine} after {seconds:.1f} s")
        await _first(stop, service.lost)
    stopped = stop.is_set()
    await service.drain(config.drain_timeout_s)
    server.should_exit = True
    await serving
    if not stopped:
        _raise_failure(service)


def _connection_limits(config: TeacherServiceConfig) -> ConnectionLimits:
    """The limits for connections, which leave ``OTHER_FILES`` of the process's file descriptors free."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ConnectionLimits(
        max(1, min(config.max_connections, allowed - OTHER_FILES)), config.header_timeout_s
    )


def _raise_failure(service: Service) -> None:
    if isinstance(service.failure, AdaSwitchError):
        raise service.failure
    if service.failure is not None:
        raise EngineLostError(f"the engine did not start: {one_line(service.failure)}") from service.failure
    reason = service.engine.why_lost()
    raise EngineLostError(f"the engine has died: {reason}" if reason else "the engine has died")


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _reload(keys: KeyRing, say: Callable[[str], None]) -> None:
    try:
        say(f"keys read again: {keys.reload()}")
    except ConfigError as error:
        say(f"keys are left as they were: {error}")


async def _first(*events: asyncio.Event, timeout_s: float | None = None) -> bool:
    """Wait for any of ``events``. Returns whether one of them was set within ``timeout_s``."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    done, _ = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return bool(done)
