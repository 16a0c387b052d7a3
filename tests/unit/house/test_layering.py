"""Who may import what, read from the source and held against the table in ``rooms``."""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.unit.house.rooms import LIBRARIES, PURE_LIBRARIES, PURE_ROOMS, ROOMS

ROOT = Path(__file__).parents[3]
FOLDERS = ("adaswitch", "services", "trainer", "experiments")

IMPURE_STDLIB = {
    "http",
    "multiprocessing",
    "os",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "urllib",
}
FILE_CALLS = {
    "open",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "load_file",
    "save_file",
    "safe_open",
}
FILE_FUNCTIONS = {"torch.load", "torch.save", "np.load", "np.save", "np.savez", "np.fromfile", "np.memmap"}
MAY_CALL_RAY_REMOTE = re.compile(r"adaswitch\.cluster\..+|services\.student\.actor|trainer\.ranks\.group")


def room_of(module: str) -> str | None:
    """The room that a module stands in: the longest that its name begins with; None for what is not ours."""
    names = module.split(".")
    for length in range(len(names), 0, -1):
        room = ".".join(names[:length])
        # The door of the house is one file, and not all that has no other place.
        if room in ROOMS and (room != "adaswitch" or module in ("adaswitch", "adaswitch.__main__")):
            return room
    return None


def may_import(room: str) -> set[str]:
    """The rooms that ``room`` may import, itself included."""
    if ROOMS[room] == "*":
        return set(ROOMS)
    named = ROOMS[room].split()
    return {room} | {name if name in ROOMS else f"adaswitch.{name}" for name in named}


def imported(tree: ast.Module, modules: set[str]) -> Iterator[str]:
    """Every module imported anywhere in the file; ``modules`` tells ``from package import module`` apart."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(level=level, module=module, names=names):
                if level or module is None:
                    yield "." * level + (module or "")
                    continue
                for name in names:
                    full = f"{module}.{name.name}"
                    yield full if full in modules else module


def arrow_violation(module: str, target: str) -> str | None:
    """Why ``module`` may not import ``target``; None if it may."""
    if target.startswith("."):
        return f"imports {target}: write the whole name"
    room, top = room_of(module), target.partition(".")[0]
    if room is None:
        return f"{module} has no room in ROOMS: give it one"
    if top not in FOLDERS:
        return _library_violation(room, top)
    target_room = room_of(target)
    if target_room is None:
        return f"{target} has no room in ROOMS: give it one"
    if target_room not in may_import(room):
        return f"{room} imports {target_room} ({target})"
    return None


def _library_violation(room: str, library: str) -> str | None:
    owners = LIBRARIES.get(library, "").split()
    if owners and room not in owners and room != "experiments":
        return f"{room} imports {library}"
    if not any(_is_in(room, pure) for pure in PURE_ROOMS):
        return None
    if library in sys.stdlib_module_names:
        return f"{room} is pure and imports {library}" if library in IMPURE_STDLIB else None
    return None if library in PURE_LIBRARIES else f"{room} is pure and imports {library}"


def _is_in(room: str, owner: str) -> bool:
    return room == owner or room.startswith(f"{owner}.")


def call_violations(module: str, tree: ast.Module) -> Iterator[str]:
    """Files touched by a pure module, and ``ray.remote`` away from the edge."""
    room = room_of(module)
    is_pure = room is not None and any(_is_in(room, pure) for pure in PURE_ROOMS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and is_pure:
            called = ast.unparse(node.func)
            if called in FILE_FUNCTIONS or called.rpartition(".")[2] in FILE_CALLS:
                yield f"line {node.lineno}: {room} is pure and calls {called}()"
        names_remote = (isinstance(node, ast.Attribute) and ast.unparse(node) == "ray.remote") or (
            isinstance(node, ast.ImportFrom)
            and node.module == "ray"
            and any(n.name == "remote" for n in node.names)
        )
        if names_remote and not MAY_CALL_RAY_REMOTE.fullmatch(module):
            yield f"line {node.lineno}: ray.remote away from the edge"


def violations(module: str, source: str, modules: set[str]) -> list[str]:
    """Everything in one file that breaks the house's rules."""
    tree = ast.parse(source)
    arrows = (arrow_violation(module, target) for target in imported(tree, modules))
    return [arrow for arrow in dict.fromkeys(arrows) if arrow] + list(call_violations(module, tree))


def cycle(sources: Mapping[str, str]) -> list[str] | None:
    """Modules that import each other in a ring while they are loaded; None if there is no such ring."""
    arrows = {
        module: {target for target in imported(_at_import(source), set(sources)) if target in sources}
        for module, source in sources.items()
    }
    try:
        TopologicalSorter({module: targets - {module} for module, targets in arrows.items()}).prepare()
    except CycleError as error:
        ring: list[str] = error.args[1]
        return ring
    return None


def _at_import(source: str) -> ast.Module:
    """Without what runs later, inside of functions, or never, for type checkers alone."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            node.body = [inner for inner in node.body if not isinstance(inner, ast.FunctionDef)]
    return tree


def module_name(path: Path) -> str:
    """``adaswitch/method/__init__.py`` -> ``adaswitch.method``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(p): p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))}


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_keeps_the_house_rules(module):
    assert violations(module, SOURCES[module].read_text(encoding="utf-8"), set(SOURCES)) == []


def test_every_room_is_there_and_no_arrow_runs_up():
    assert {room_of(module) for module in SOURCES} == set(ROOMS)
    order = list(ROOMS)
    for room in ROOMS:
        for target in may_import(room) - {room}:
            assert target in ROOMS, f"{room} may import {target}, which is no room"
            assert order.index(target) < order.index(room) or ROOMS[room] == "*"


def test_no_modules_import_each_other_in_a_ring():
    assert cycle({module: path.read_text(encoding="utf-8") for module, path in SOURCES.items()}) is None


def test_a_ring_is_found():
    ring = cycle({"a": "import b", "b": "from c import x", "c": "import a", "d": "import a"})
    assert ring is not None
    assert set(ring) == {"a", "b", "c"}
    assert cycle({"a": "import b", "b": "def f():\n    import a"}) is None


def test_no_old_name_is_left():
    """``adaswitch.io`` was parted into rooms; only the log, which is history, may speak of it."""
    old = re.compile(r"adaswitch[./]io\b")
    texts = ("*.py", "*.md", "*.yaml", "*.yml", "*.toml", "*.sh", "Makefile", "Dockerfile")
    found = [
        path.relative_to(ROOT)
        for pattern in texts
        for path in ROOT.rglob(pattern)
        if not {".venv", ".git", "runs"} & set(path.relative_to(ROOT).parts)
        and path.relative_to(ROOT) != Path("docs/log.md")
        and path != Path(__file__)
        and old.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


MODULES = {
    "adaswitch.errors",
    "adaswitch.method.rollout",
    "adaswitch.method.policies",
    "adaswitch.cluster.actors",
    "services.teacher",
    "services.teacher.http.app",
}

FORBIDDEN = {
    "up": (
        "adaswitch.contract.wire",
        "from adaswitch.runs.shards import read_shard",
        "imports adaswitch.runs",
    ),
    "up, by the package": (
        "adaswitch.runs.shards",
        "from adaswitch.cluster import actors",
        "adaswitch.cluster",
    ),
    "up, inside a function": (
        "adaswitch.data.models",
        "def f():\n    import adaswitch.teachers",
        "imports adaswitch.teachers",
    ),
    "sideways": ("adaswitch.tasks.chain", "import adaswitch.method.rollout", "imports adaswitch.method"),
    "through the door": ("adaswitch.method.rollout", "import adaswitch", "imports adaswitch (adaswitch)"),
    "without a room": ("adaswitch.newcomer", "import adaswitch.errors", "has no room"),
    "to what has no room": ("adaswitch.runs.shards", "import adaswitch.newcomer", "has no room"),
    "relative": ("adaswitch.method.policies", "from .rollout import Rollout", "whole name"),
    "method to cluster": ("adaswitch.method.policies", "from adaswitch.cluster import actors", "cluster"),
    "method to commands": (
        "adaswitch.method.policies",
        "import adaswitch.commands.cli",
        "adaswitch.commands",
    ),
    "method to a service": (
        "adaswitch.method.policies",
        "import services.student.worker",
        "imports services.student",
    ),
    "method to httpx": ("adaswitch.method.policies", "import httpx", "imports httpx"),
    "method to ray": ("adaswitch.method.policies", "from ray.util import queue", "imports ray"),
    "method to transformers": ("adaswitch.method.decoding", "import transformers", "imports transformers"),
    "contract to sockets": ("adaswitch.contract.wire", "import socket", "imports socket"),
    "contract to urllib": ("adaswitch.contract.wire", "from urllib.request import urlopen", "imports urllib"),
    "runs to ray": ("adaswitch.runs.summary", "import ray", "imports ray"),
    "evaluation to ray": ("adaswitch.evaluation.command", "import ray", "imports ray"),
    "commands to httpx": ("adaswitch.commands.launch", "import httpx", "imports httpx"),
    "student to httpx": ("services.student.worker", "import httpx", "imports httpx"),
    "student's worker to vllm": ("services.student.worker", "import vllm", "imports vllm"),
    "teacher's routes to vllm": ("services.teacher.http.app", "from vllm import LLM", "imports vllm"),
    "trainer to vllm": ("trainer.loop", "import vllm", "imports vllm"),
    "teacher's engine to fastapi": ("services.teacher.engines.vllm.engine", "import fastapi", "fastapi"),
    "data to typer": ("adaswitch.data.datasets", "import typer", "imports typer"),
    "commands to trainer": ("adaswitch.commands.launch", "import trainer.loop", "imports trainer"),
    "commands to a service": (
        "adaswitch.commands.cli",
        "from services.teacher.http import app",
        "imports services.teacher",
    ),
    "commands to experiments": ("adaswitch.commands.cli", "import experiments.plan", "imports experiments"),
    "service to service": (
        "services.teacher.serve",
        "import services.student.worker",
        "imports services.student",
    ),
    "engine to routes": (
        "services.teacher.engines.engine",
        "from services.teacher.http import app",
        "imports services.teacher.http",
    ),
    "teacher to cluster": ("services.teacher.serve", "import adaswitch.cluster.actors", "adaswitch.cluster"),
    "student to trainer": ("services.student.worker", "import trainer", "imports trainer"),
    "trainer to teacher": ("trainer.loop", "from services import teacher", "imports services.teacher"),
    "trainer to commands": ("trainer.loop", "import adaswitch.commands.cli", "imports adaswitch.commands"),
    "ray.remote as a decorator": (
        "trainer.loop",
        "import ray\n@ray.remote\nclass A: ...",
        "away from the edge",
    ),
    "ray.remote called": ("services.student.worker", "actor = ray.remote(Worker)", "away from the edge"),
    "ray.remote by name": ("trainer.loop", "from ray import remote", "away from the edge"),
    "open": ("adaswitch.contract.wire", "open('x')", "calls open()"),
    "Path.open": ("adaswitch.contract.wire", "with path.open('rb') as f: ...", "calls path.open()"),
    "Path.read_text": ("adaswitch.contract.wire", "text = Path('x').read_text()", "read_text()"),
    "Path.write_bytes": ("adaswitch.method.draft", "path.write_bytes(b'')", "write_bytes()"),
    "safetensors file": ("adaswitch.contract.wire", "load_file('x')", "calls load_file()"),
    "torch.load": ("adaswitch.tasks.chain", "torch.load('x')", "calls torch.load()"),
}

ALLOWED = {
    "down": ("adaswitch.method.policies", "from adaswitch import errors\nimport numpy as np, math, torch"),
    "within a room": ("adaswitch.method.policies", "from adaswitch.method import rollout"),
    "cluster to lower rooms and Ray": (
        "adaswitch.cluster.head",
        "import os, ray\nfrom adaswitch.method import policies",
    ),
    "files outside of the pure rooms": ("adaswitch.runs.shards", "open('x')"),
    "commands to lower rooms": (
        "adaswitch.commands.cli",
        "import typer\nfrom adaswitch.cluster import actors",
    ),
    "httpx to its room": ("adaswitch.teachers.native", "import httpx"),
    "vllm to its room": ("services.teacher.engines.vllm.engine", "import vllm"),
    "vllm to the student's engines": ("services.student.engines.vllm", "import vllm"),
    "ray.remote in the cluster's room": ("adaswitch.cluster.actors", "ray.remote(Queue)"),
    "ray.remote at the student's edge": ("services.student.actor", "ray.remote(Worker)"),
    "a handle's method": ("trainer.loop", "queue.put.remote(1)"),
    "routes to an engine": (
        "services.teacher.http.app",
        "import fastapi\nfrom services.teacher.engines import engine",
    ),
    "experiments to everything": (
        "experiments.compare",
        "import trainer, services.teacher, adaswitch.cluster.actors, ray",
    ),
    "the door to the commands": ("adaswitch.__main__", "from adaswitch.commands.cli import main"),
}


@pytest.mark.parametrize(("module", "source", "message"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_is_forbidden_is_found(module, source, message):
    found = violations(module, source, MODULES)
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(("module", "source"), ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed_is_not_complained_about(module, source):
    assert violations(module, source, MODULES) == []
