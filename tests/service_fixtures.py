"""Real services for the integration tests: free ports, a config for short runs, commands as a user types them."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import typer
import yaml
from typer.testing import CliRunner

from adaswitch.processes.managed import ManagedProcess, wait_for_file
from adaswitch.runs.config_files import read_yaml
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.shards import read_shard
from tests.waiting import wait_until

COMMAND_TIMEOUT_S = 300
ConfigWriter = Callable[..., Path]


def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    return unused_port()


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster with its job server, and a teacher; ``environment`` lets a process join."""

    environment: dict[str, str]
    dashboard_url: str
    teacher_url: str
    head_pid: int

    def workers(self, name: str) -> list[psutil.Process]:
        """This cluster's own actors of a class, whose name Ray gives their processes."""
        processes = psutil.Process(self.head_pid).children(recursive=True)
        return [process for process in processes if process.name().startswith(f"ray::{name}")]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Started once for all tests that need one; the teacher runs on transformers."""
    folder = tmp_path_factory.mktemp("cluster")
    # A job's ``python`` is the first on the path of the cluster that runs it.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    token = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    dashboard, teacher = unused_port(), unused_port()
    address_file = folder / "address"
    head_arguments = ["--address-file", str(address_file), "--num-cpus", "4"]
    head_arguments += ["--dashboard-port", str(dashboard)]
    served = ["--model", "models/chain-teacher", "--engine", "transformers", "--port", str(teacher)]
    processes = [
        ManagedProcess(
            "ray",
            "adaswitch.cluster.head",
            head_arguments,
            folder / "ray.log",
            {**token, "PATH": path, "RAY_JOB_STOP_WAIT_TIME_S": "60"},
        ),
        ManagedProcess("teacher", "services.teacher", served, folder / "teacher.log"),
    ]
    try:
        address = wait_for_file(address_file, processes[0], 120)
        yield Cluster(
            {**token, "RAY_ADDRESS": address},
            f"http://127.0.0.1:{dashboard}",
            f"http://127.0.0.1:{teacher}",
            processes[0].pid,
        )
    finally:
        for process in processes:
            process.stop(15)


@pytest.fixture
def short_config(tmp_path: Path, free_port: int) -> Callable[..., Path]:
    """Writes the demo's config with a few small steps; dotted settings replace others."""

    def write(**settings: object) -> Path:
        document = read_yaml("configs/demo.yaml")
        small = {
            "runs_dir": str(tmp_path / "runs"),
            "teacher.serve.engine": "transformers",
            "teacher.serve.port": free_port,
            "trainer.num_steps": 3,
            "trainer.prompts_per_step": 8,
            "trainer.eval_prompts": 20,
            "trainer.eval_every": 3,
            "student.group_size": 4,
        }
        for path, value in (small | settings).items():
            place = document
            *parents, last = path.split(".")
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(document))
        return file

    return write


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m arguments...`` to its end, output together."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        env={**os.environ, **environment},
        check=False,
    )


def inside(app: typer.Typer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same command in this process, which has imported already what takes a new one seconds."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(arguments, result.exit_code, result.output)


def num_lines(path: Path) -> int:
    """None of a file that is not there."""
    return len(path.read_text().splitlines()) if path.is_file() else 0


def wait_for_records(path: Path, number: int, process: ManagedProcess) -> None:
    """Until ``number`` lines are in ``path``."""
    _wait_with(process, lambda: num_lines(path) >= number, f"{number} lines in {path}")


def wait_for_line(path: Path, words: str, process: ManagedProcess) -> None:
    """Until ``words`` are in ``path``."""
    _wait_with(process, lambda: words in path.read_text(), f"{words!r} in {path}")


def _wait_with(process: ManagedProcess, condition: Callable[[], bool], what: str) -> None:
    def check() -> None:
        assert process.exit_code is None, process.last_error()

    try:
        wait_until(condition, what, check)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{process.name}:\n{process.log.read_text()[-3000:]}") from None


@contextmanager
def students(config: Path, cluster: Cluster, *overrides: str) -> Iterator[ManagedProcess]:
    """The student service for as long as the block lasts."""
    arguments = ["--config", str(config), *overrides]
    log = config.parent / "students.log"
    process = ManagedProcess("students", "services.student", arguments, log, cluster.environment)
    try:
        yield process
    finally:
        process.stop(20)


def trainer(config: Path, cluster: Cluster, *overrides: str) -> ManagedProcess:
    log = config.parent / "trainer.log"
    return ManagedProcess(
        "trainer", "trainer", ["--config", str(config), *overrides], log, cluster.environment
    )


def assert_nothing_left(folder: Path) -> None:
    """No process that was started for a run under ``folder`` is alive."""
    left = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in argument for argument in process.info["cmdline"] or []):
            left.append(process.info["cmdline"])
    assert left == []


def ids_trained_on(run: RunDirectory) -> list[int]:
    return [rollout.prompt.id for shard in run.shards() for rollout in read_shard(shard)]
