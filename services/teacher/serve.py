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
from services.teacher.engines.engine import EngineLostError
from services.teacher.http.keys import KeyRing
from services.teacher.http.lifecycle import Phase, Service
from services.teacher.http.protocol import ConnectionLimits, guarded

KEEP_ALIVE_S = 75
OTHER_FILES = 64
"""Of the process: libraries, the engine's sockets, logs."""
GRACE_S = 2
"""For connections that are left after draining: those whose request never came to its end."""


class _Server(uvicorn.Server):
    """uvicorn that leaves signals alone: it would refuse connections at once instead of answering 503."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


async def serve(
    app: FastAPI,
    bound: socket.socket,
    config: TeacherServiceConfig,
    keys: KeyRing,
    say: Callable[[str], None],
) -> None:
    """Serve until a signal; SIGHUP reads the file of keys again.

    Raises why the engine did not start, or ``EngineLostError`` once it has died.
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
    """With some of the files that the process may open left for everything else."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ConnectionLimits(
        max(1, min(config.max_connections, allowed - OTHER_FILES)), config.header_timeout_s
    )


def _raise_failure(service: Service) -> None:
    if isinstance(service.failure, AdaSwitchError):
        raise service.failure
    if service.failure is not None:
        raise EngineLostError(f"the engine did not start: {service.failure!r}") from service.failure
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
    """Whether one of ``events`` came in time."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    done, _ = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return bool(done)
