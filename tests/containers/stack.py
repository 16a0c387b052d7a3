"""docker-compose.yml as a test uses it."""

import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from tests.containers.engine import Engine, run
from tests.service_fixtures import num_lines
from tests.waiting import wait_until

RAY = "http://127.0.0.1:8265"
INSIDE_PORTS = (8000, 8265, 6379, 8080, 10001)
"""Of the teacher, the job server, Ray's head, its metrics, its clients."""


class Stack:
    """The services of a project folder."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.folder = folder
        self.engine = engine
        self.key, self.token = secrets.token_hex(16), secrets.token_hex(16)

    def write_env(self, **variables: str) -> None:
        """.env with this stack's keys."""
        values = {"ADASWITCH_API_KEY": self.key, "RAY_AUTH_TOKEN": self.token, **variables}
        text = "".join(f"{name}={value}\n" for name, value in values.items())
        (self.folder / ".env").write_text(text)

    def override(self, service: str, **settings: object) -> None:
        """Change a service from what docker-compose.yml says."""
        (self.folder / "override.yml").write_text(json.dumps({"services": {service: settings}}))

    def compose(
        self, *arguments: str, timeout_s: float = 120.0, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """``docker compose arguments...`` in the folder."""
        place = ["--project-directory", str(self.folder), "--project-name", "adaswitch-test"]
        files = ["-f", str(self.folder / "docker-compose.yml")]
        override = self.folder / "override.yml"
        files += ["-f", str(override)] if override.is_file() else []
        place += ["--env-file", str(self.folder / ".env")]
        return self.engine.compose(
            *place, *files, *arguments, timeout_s=timeout_s, check=check, **environment
        )

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers."""
        return self.compose("ps", "-a", "-q", service).stdout.split()

    def container(self, service: str) -> str:
        """The id of a service's one container."""
        (found,) = self.containers(service)
        return found

    def state(self, container: str) -> dict[str, object]:
        """What the engine knows of a container's life."""
        state: dict[str, object] = json.loads(
            self.engine.docker("inspect", "--format", "{{json .State}}", container).stdout
        )
        return state

    def wait_until_healthy(self, service: str, timeout_s: float = 180.0) -> list[str]:
        """Until all of a service's containers are; their ids."""

        def are_healthy() -> bool:
            states = [self.state(container) for container in self.containers(service)]
            return all(state.get("Health", {}).get("Status") == "healthy" for state in states)  # type: ignore[attr-defined]

        wait_until(are_healthy, f"a healthy {service}", timeout_s=timeout_s)
        return self.containers(service)

    def student_nodes(self) -> set[str]:
        """The nodes that live student actors are on, as Ray's head knows them."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.get(f"{RAY}/api/v0/actors", params={"limit": 1000, "detail": True}, headers=headers)
        actors = answer.raise_for_status().json()["data"]["result"]["result"]
        students = [actor for actor in actors if actor["class_name"] == "StudentActor"]
        return {actor["node_id"] for actor in students if actor["state"] == "ALIVE"}

    def log(self, service: str) -> str:
        """What a service has printed."""
        return self.compose("logs", "--no-color", service).stdout

    def num_records(self, run_name: str) -> int:
        """How many steps a run has behind it."""
        return num_lines(self.folder / "runs" / run_name / "metrics.jsonl")

    def wait_for_records(self, run_name: str, number: int, timeout_s: float = 300.0) -> None:
        """Until a run has so many steps behind it."""
        try:
            wait_until(
                lambda: self.num_records(run_name) >= number,
                f"{number} steps of {run_name}",
                timeout_s=timeout_s,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.log('ray-head')[-3000:]}") from None

    def wait_for_end(self, service: str, timeout_s: float) -> int:
        """The exit code of a service's container."""
        done = self.engine.docker("wait", self.container(service), timeout_s=timeout_s)
        return int(done.stdout.strip().splitlines()[-1])

    def kill(self, service: str) -> None:
        """Its first process is gone, as after a fault: the engine was not asked to stop it, and starts it again."""
        pid = self.state(self.container(service))["Pid"]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)

    def job(
        self, verb: str, *arguments: str, token: str | None = None, timeout_s: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """``ray job verb arguments...``, from outside."""
        command = (sys.executable, "-m", "ray.scripts.scripts", "job", verb, "--address", RAY)
        environment = ray_token(token or self.token)
        return run(*command, *arguments, timeout_s=timeout_s, check=False, **environment)

    def submit(
        self,
        *arguments: str,
        options: Sequence[str] = (),
        token: str | None = None,
        folder: Path = Path("."),
    ) -> subprocess.CompletedProcess[str]:
        """``ray job submit`` of the trainer, with this repository or another ``folder`` to work in."""
        trainer = ("--working-dir", str(folder), *options, "--", "python", "-m", "trainer", *arguments)
        return self.job("submit", *trainer, token=token)

    def down(self) -> None:
        """Stop everything and remove it."""
        self.compose("down", "-v", "--remove-orphans", timeout_s=180.0)

    def left_over(self) -> list[str]:
        """Containers, networks and volumes of the project."""
        label = "label=com.docker.compose.project=adaswitch-test"
        listed = [
            self.engine.docker(*what, "-q", "--filter", label).stdout
            for what in (("ps", "-a"), ("network", "ls"), ("volume", "ls"))
        ]
        return "".join(listed).split()


def ray_token(token: str) -> dict[str, str]:
    """The environment of a command that the cluster is to let in."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}


def reachable() -> set[tuple[str, int]]:
    """Of this machine's addresses and the ports that the stack has inside, those where a connection is taken."""
    addresses = [
        each.address
        for every in psutil.net_if_addrs().values()
        for each in every
        if each.family == socket.AF_INET
    ]
    found = set()
    for address, port in itertools.product(addresses, INSIDE_PORTS):
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex((address, port)) == 0:
                found.add((address, port))
    return found


def published() -> set[tuple[str, int]]:
    """Addresses on which the engine's proxies listen for the world outside."""
    return {
        (str(connection.laddr.ip), int(connection.laddr.port))
        for process in psutil.process_iter(["name"])
        if process.info["name"] == "docker-proxy"
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
