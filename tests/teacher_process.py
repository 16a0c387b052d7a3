"""The teacher service as a process of its own, as a user starts it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from adaswitch.contract.wire import SAFETENSORS_TYPE, SequenceAnswer, answers_from_safetensors
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TeacherProcess:
    """``python -m services.teacher`` in a session of its own. ``end`` kills whatever is left of it."""

    def __init__(
        self, log: Path, model: Path | str, *options: str, port: int | None = None, **environment: str
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "services.teacher"),
                    *("--model", str(model), "--port", str(self.port)),
                    *options,
                ],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.http = httpx.Client(base_url=self.url, timeout=60.0)

    def wait_until_ready(self, timeout_s: float = 110.0) -> "TeacherProcess":
        def check() -> None:
            assert self.process.poll() is None, self.log.read_text()

        wait_until(self._is_ready, f"{self.log}: a ready service", check, timeout_s)
        return self

    def _is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, path: str, body: dict[str, object]) -> list[SequenceAnswer]:
        response = self.http.post(path, json=body, headers={"Accept": SAFETENSORS_TYPE})
        assert response.status_code == 200, response.text
        return answers_from_safetensors(response.content)

    def metric(self, sample: str) -> float:
        lines = self.http.get("/metrics").text.splitlines()
        return float(next(line.split(" ")[1] for line in lines if line.startswith(sample + " ")))

    def family(self) -> list[psutil.Process]:
        """The service and every process that it has started."""
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]

    def shared_memory(self) -> set[Path]:
        """Files of shared memory that the service or one of its processes has mapped."""
        maps = [found.path for process in self.family() for found in process.memory_maps()]
        return {Path(path) for path in maps if path.startswith("/dev/shm/") and "(deleted)" not in path}

    def signal_and_wait(self, number: signal.Signals, timeout_s: float = 30.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def end(self) -> None:
        self.http.close()
        for pid in session_members(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def session_members(session: int) -> list[int]:
    """Processes of a session that have not ended."""
    members = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
        except ProcessLookupError:
            continue
    return members


def wait_until_gone(session: int, timeout_s: float = 10.0) -> list[int]:
    """Those of a session that are still there after ``timeout_s``: none, it is hoped."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not session_members(session), "their end", timeout_s=timeout_s)
    return session_members(session)
