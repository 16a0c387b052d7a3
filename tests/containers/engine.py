"""A container engine for the tests: the one that runs, or one of the test's own that is gone afterwards.

Without one, and as root on Debian, Docker's packages are unpacked into a folder and started from there; only tools
that do nothing by themselves are installed. Where no registry answers, the base image is made by debootstrap.
"""

import ast
import contextlib
import functools
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
BASE = "python:3.11-slim-bookworm"
PACKAGES = ("docker.io", "containerd", "tini")
TOOLS = {"iptables": "iptables", "runc": "runc", "ip": "iproute2"}
"""Commands that the daemon or the tests call, and the packages that have them."""
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
START_TIMEOUT_S = 60.0
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
"""What the daemon switches on."""
DAEMON_KEY = Path("/etc/docker/key.json")
"""What it writes beside its own folder."""


def run(
    *command: str, timeout_s: float = 60.0, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command to its end, output together."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done


class Engine:
    """Docker and a Compose for it."""

    def __init__(self, environment: dict[str, str], compose: Sequence[str]) -> None:
        self._environment = environment
        self._compose = compose

    def docker(
        self, *arguments: str, timeout_s: float = 60.0, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """``docker arguments...``."""
        return run(
            "docker", *arguments, timeout_s=timeout_s, check=check, **{**self._environment, **environment}
        )

    def compose(
        self, *arguments: str, timeout_s: float = 120.0, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """``docker compose arguments...``."""
        variables = {**self._environment, **environment}
        return run(*self._compose, *arguments, timeout_s=timeout_s, check=check, **variables)

    def build(self, folder: Path) -> str:
        """The three images by docker/build.sh. Returns what it printed."""
        with pip_configuration(folder) as secret:
            options = f"--network host --build-arg BASE={BASE}"
            variables = {
                **self._environment,
                "PIP_CONFIG_FILE": str(secret),
                "DOCKER_BUILD_OPTIONS": options,
            }
            return run("sh", "docker/build.sh", timeout_s=1800.0, **variables).stdout


@contextlib.contextmanager
def an_engine(folder: Path) -> Iterator[Engine]:
    """The engine that runs, or one that is started in ``folder`` and leaves nothing behind."""
    if shutil.which("docker") and run("docker", "info", check=False).returncode == 0:
        yield Engine({}, _compose_command({}))
        return
    environment = _unpack(folder)
    before, saved = _state(environment), run("iptables-save", **environment).stdout
    forwarding = IP_FORWARD.read_text()
    key = DAEMON_KEY.exists()
    daemon = _launch(folder, environment)
    try:
        _wait_until_up(daemon, folder, environment)
        _require_base(folder, environment)
        yield Engine(environment, _compose_command(environment))
    finally:
        daemon.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(60)
        daemon.kill()
        for link in _links() - before.links:
            run("ip", "link", "delete", link, check=False)
        _restore(saved, environment)
        IP_FORWARD.write_text(forwarding)
        if not key:
            DAEMON_KEY.unlink(missing_ok=True)
        _unmount(folder)
    wait_until(lambda: _state(environment) == before, f"as before: {before}, now {_state(environment)}")


@dataclass(frozen=True)
class MachineState:
    """What an engine changes on the machine that it runs on: rules without their counters, links, processes."""

    rules: str
    links: frozenset[str]
    processes: int


def _state(environment: dict[str, str]) -> MachineState:
    saved = run("iptables-save", **environment).stdout
    # Comments hold the time, and tables that were never used stand for their defaults.
    lines = [re.sub(r" \[\d+:\d+\]$", "", line) for line in saved.splitlines() if not line.startswith("#")]
    rules = [
        line for line in lines if line.startswith("-A") or (line.startswith(":") and " ACCEPT" not in line)
    ]
    names = [process.info["name"] for process in psutil.process_iter(["name"])]
    engine = ("dockerd", "containerd", "docker-proxy", "containerd-shim")
    return MachineState("\n".join(rules), frozenset(_links()), sum(name.startswith(engine) for name in names))


def _restore(rules: str, environment: dict[str, str]) -> None:
    """The rules of before, and nothing else: of a table that was not in use then, the defaults."""
    chains = {
        "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
        "filter": ("INPUT", "FORWARD", "OUTPUT"),
    }
    for table, own in chains.items():
        defaults = "".join(f":{chain} ACCEPT [0:0]\n" for chain in own)
        rules += "" if f"*{table}" in rules else f"*{table}\n{defaults}COMMIT\n"
    subprocess.run(
        ["iptables-restore"], input=rules, text=True, env={**os.environ, **environment}, check=True
    )


def _require_tool(command: str, package: str) -> None:
    if shutil.which(command) is None:
        run("apt-get", "install", "-y", "--no-install-recommends", package, timeout_s=300.0)


def _compose_command(environment: dict[str, str]) -> list[str]:
    if run("docker", "compose", "version", check=False, **environment).returncode == 0:
        return ["docker", "compose"]
    _require_tool("docker-compose", "docker-compose")
    return ["docker-compose"]


def _unpack(folder: Path) -> dict[str, str]:
    """Docker's packages in ``folder``; the variables that a command needs to use them."""
    archives, tree = folder / "archives", folder / "tree"
    archives.mkdir()
    run("apt-get", "update", "-qq", timeout_s=120.0)
    for command, package in TOOLS.items():
        _require_tool(command, package)
    subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=archives, check=True, timeout=300)
    for archive in archives.glob("*.deb"):
        run("dpkg", "-x", str(archive), str(tree))
    return {
        "PATH": f"{tree}/usr/bin:{tree}/usr/sbin:{os.environ['PATH']}",
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
    }


def _launch(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    tree = folder / "tree"
    options = {
        "data-root": folder / "data",
        "exec-root": folder / "exec",
        "pidfile": folder / "docker.pid",
        "host": environment["DOCKER_HOST"],
        "userland-proxy-path": tree / "usr/sbin/docker-proxy",
        "init-path": tree / "usr/bin/tini-static",
    }
    with (folder / "dockerd.log").open("wb") as log:
        return subprocess.Popen(
            ["dockerd", *(f"--{name}={value}" for name, value in options.items())],
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait_until_up(daemon: subprocess.Popen[bytes], folder: Path, environment: dict[str, str]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while run("docker", "info", check=False, **environment).returncode != 0:
        assert daemon.poll() is None, (folder / "dockerd.log").read_text()[-3000:]
        assert time.monotonic() < deadline_s, "dockerd does not answer"
        time.sleep(0.2)


def _links() -> set[str]:
    """Names of Docker's bridges, and of the interfaces on them."""
    names = os.listdir("/sys/class/net")
    return {name for name in names if name.startswith(("docker", "br-", "veth"))}


def _unmount(folder: Path) -> None:
    """Whatever the daemon left mounted under ``folder``, the innermost first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in sorted((p for p in points if p.startswith(str(folder))), reverse=True):
        run("umount", point, check=False)


def _require_base(folder: Path, environment: dict[str, str]) -> None:
    """The images' base: pulled, or made of Debian's own packages under its name."""
    if run("docker", "pull", "-q", BASE, check=False, timeout_s=300.0, **environment).returncode == 0:
        return
    tree = folder / "base"
    _require_tool("debootstrap", "debootstrap")
    include = f"--include={BASE_PACKAGES}"
    run("debootstrap", "--variant=minbase", include, "bookworm", str(tree), timeout_s=600.0)
    shutil.copy(CERTIFICATES, tree / CERTIFICATES.relative_to("/"))
    shutil.rmtree(tree / "var/cache/apt", ignore_errors=True)
    shutil.rmtree(tree / "var/lib/apt/lists", ignore_errors=True)
    with subprocess.Popen(["tar", "-C", str(tree), "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(
            ["docker", "import", "-", BASE],
            stdin=tar.stdout,
            env={**os.environ, **environment},
            check=True,
            timeout=300,
            capture_output=True,
        )
    shutil.rmtree(tree)


@contextlib.contextmanager
def pip_configuration(folder: Path) -> Iterator[Path]:
    """This machine's pip.conf for use in a build: indexes that are folders here are served over HTTP meanwhile."""
    settings = {name: _pip_setting(name) for name in ("index-url", "extra-index-url", "find-links", "cert")}
    with contextlib.ExitStack() as servers:

        def reachable(place: str) -> str:
            path = Path(place.removeprefix("file://"))
            # An index may point beside itself.
            return servers.enter_context(served(path.parent)) + path.name if path.is_absolute() else place

        lines = ["[global]"]
        for name, value in settings.items():
            places = value.split() if name == "cert" else [reachable(place) for place in value.split()]
            lines += [f"{name} = {' '.join(places)}"] * bool(places)
        file = folder / "pip.conf"
        file.write_text("\n".join(lines) + "\n")
        yield file


def _pip_setting(name: str) -> str:
    """From pip's environment variable, else from its files; empty if it is not set."""
    variable = os.environ.get(f"PIP_{name.replace('-', '_').upper()}")
    if variable:
        return variable
    listed = run(sys.executable, "-m", "pip", "config", "list").stdout.splitlines()
    settings = dict(line.split("=", 1) for line in listed if line.startswith("global."))
    return str(ast.literal_eval(settings.get(f"global.{name}", "''")))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address on loopback under which ``folder`` can be read."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
