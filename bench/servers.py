"""Runs the servers that are measured, as processes of their own: our service, and vLLM's OpenAI-compatible server."""

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx
import psutil

from adaswitch.errors import EnvironmentProblem
from adaswitch.processes.managed import ManagedProcess

READY_TIMEOUT_S = 300.0
STOP_GRACE_S = 20.0
MAX_MODEL_LEN = 1024


@dataclass(frozen=True)
class Server:
    """A running server that answers requests."""

    url: str
    process: ManagedProcess

    def api_cpu_s(self) -> float:
        """CPU seconds of the API's own process, without the engine's."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def our_service(
    model: Path, logs: Path, *options: str, max_model_len: int = MAX_MODEL_LEN
) -> Iterator[Server]:
    """Run ``python -m services.teacher``, on vLLM unless ``options`` name another engine."""
    arguments = ["--max-model-len", str(max_model_len), *options]
    with _running("services.teacher", model, arguments, logs, "/readyz") as server:
        yield server


@contextmanager
def vllm_server(
    model: Path,
    logs: Path,
    max_logprobs: int,
    *options: str,
    max_model_len: int = MAX_MODEL_LEN,
    one_process: bool = False,
) -> Iterator[Server]:
    """Run vLLM's own server, with the same engine settings as our service and vLLM's own ``options``.

    With ``one_process`` the engine's process runs the model itself, as in our service, and starts no worker for it.
    """
    lengths = ["--max-model-len", str(max_model_len), "--max-logprobs", str(max_logprobs)]
    arguments = ["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager", *lengths, *options]
    environment = {}
    if one_process:
        arguments += ["--distributed-executor-backend", "uni"]
        # Without it, vLLM's build for CPUs takes a worker of its own all the same.
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    module = "vllm.entrypoints.openai.api_server"
    with _running(module, model, arguments, logs, "/health", environment) as server:
        yield server


@contextmanager
def _running(
    module: str,
    model: Path,
    arguments: Sequence[str],
    logs: Path,
    ready: str,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
        "TORCH_COMPILE_DISABLE": "1",
        **environment,
    }
    port = free_port()
    arguments = ["--model", os.fspath(model), "--port", str(port), *arguments]
    process = ManagedProcess(module, module, arguments, logs / f"{module}-{port}.log", environment)
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        wait_for(server, ready)
        yield server
    finally:
        process.stop(STOP_GRACE_S)


def wait_for(server: Server, path: str) -> None:
    """Wait until the server answers ``path``. Raises ``EnvironmentProblem`` if it ends, or is not ready in time."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if server.process.exit_code is not None:
            raise EnvironmentProblem(f"{server.process.name} ended: {server.process.last_error()}")
        try:
            if httpx.get(server.url + path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise EnvironmentProblem(f"{server.process.name} is not ready (log: {server.process.log})")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def say(line: str) -> None:
    """Print ``line`` to standard error, as standard output is for results."""
    print(line, file=sys.stderr, flush=True)
