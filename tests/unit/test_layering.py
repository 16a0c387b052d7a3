"""Who may import what, read from the source: arrows run downward only."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("adaswitch", "services", "trainer", "experiments")

# The pure modules, lowest first: each imports from rows above its own, never from its own or from below.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("adaswitch",),
    (
        "adaswitch.errors",
        "adaswitch.fingerprint",
        "adaswitch.keys",
        "adaswitch.outcomes",
        "adaswitch.prompt",
        "adaswitch.config.base",
    ),
    ("adaswitch.sampling", "adaswitch.distribution", "adaswitch.scores"),
    ("adaswitch.config.teacher", "adaswitch.config.student", "adaswitch.config.trainer"),
    ("adaswitch.config.policy", "adaswitch.switching"),
    ("adaswitch.config.tasks", "adaswitch.decoding", "adaswitch.divergence", "adaswitch.rollout"),
    ("adaswitch.config",),
    ("adaswitch.roles", "adaswitch.batching", "adaswitch.metrics", "adaswitch.schedule", "adaswitch.wire"),
    ("adaswitch.health", "adaswitch.answer_check"),
    ("adaswitch.draft", "adaswitch.losses", "adaswitch.rollout_codec", "adaswitch.tasks.base"),
    ("adaswitch.policies.stages", "adaswitch.policies.coins"),
    (
        "adaswitch.policies.adaptive",
        "adaswitch.policies.controls",
        "adaswitch.policies.one_writer",
        "adaswitch.policies.hand_back",
    ),
    ("adaswitch.policies", "adaswitch.tasks.chain"),
    ("adaswitch.tasks.numbers", "adaswitch.tasks.functions", "adaswitch.tasks.rouge"),
    ("adaswitch.tasks.gsm8k", "adaswitch.tasks.dialogsum", "adaswitch.tasks.jsonl"),
    ("adaswitch.tasks.gsm_plus",),
    ("adaswitch.tasks",),
)
LAYER_OF = {module: number for number, row in enumerate(LAYERS) for module in row}

# The parts of the house, and the parts that each may import.
CORE, IO, CLI = "the pure core", "adaswitch.io", "adaswitch.cli"
TEACHER, STUDENT, TRAINER = "services.teacher", "services.student", "trainer"
EXPERIMENTS, SERVICES = "experiments", "services"
MAY_IMPORT: dict[str, set[str]] = {
    CORE: {CORE},
    IO: {CORE, IO},
    CLI: {CORE, IO, CLI},
    SERVICES: set(),
    TEACHER: {CORE, IO, TEACHER},
    STUDENT: {CORE, IO, STUDENT},
    TRAINER: {CORE, IO, TRAINER},
    EXPERIMENTS: {CORE, IO, SERVICES, TEACHER, STUDENT, TRAINER, EXPERIMENTS},
}

PURE_LIBRARIES = {"torch", "numpy", "pydantic", "pydantic_core", "safetensors", "rouge_score"}
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
MAY_CALL_RAY_REMOTE = re.compile(r"adaswitch\.io\..+|services\.student\.actor")


def part_of(module: str) -> str | None:
    """The part of the house that a module belongs to; None for what is not ours."""
    parts = module.split(".")
    match parts:
        case ["adaswitch", "io", *_]:
            return IO
        case ["adaswitch", name, *_] if name.startswith(("cli", "__main__")):
            return CLI
        case ["adaswitch", *_]:
            return CORE
        case ["services", name, *_]:
            return f"services.{name}"
        case ["services" | "trainer" | "experiments", *_]:
            return parts[0]
    return None


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
    source_part, target_part = part_of(module), part_of(target)
    assert source_part is not None
    if target_part is None:
        return _outside_violation(source_part, target.partition(".")[0])
    if target_part not in MAY_IMPORT[source_part]:
        return f"{source_part} imports {target_part} ({target})"
    if source_part == target_part == CORE and module != target:
        for name in (module, target):
            if name not in LAYER_OF:
                return f"{name} has no place in LAYERS: give it one"
        if LAYER_OF[target] >= LAYER_OF[module]:
            return f"imports {target}, which is not below it"
    return None


def _outside_violation(source_part: str, library: str) -> str | None:
    if source_part != CORE:
        return None
    if library in sys.stdlib_module_names:
        return f"the pure core imports {library}" if library in IMPURE_STDLIB else None
    return None if library in PURE_LIBRARIES else f"the pure core imports {library}"


def call_violations(module: str, tree: ast.Module) -> Iterator[str]:
    """Files touched by a pure module, and ``ray.remote`` away from the edge."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and part_of(module) == CORE:
            called = ast.unparse(node.func)
            if called in FILE_FUNCTIONS or called.rpartition(".")[2] in FILE_CALLS:
                yield f"line {node.lineno}: the pure core calls {called}()"
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
    return [arrow for arrow in arrows if arrow] + list(call_violations(module, tree))


def module_name(path: Path) -> str:
    """``adaswitch/io/__init__.py`` -> ``adaswitch.io``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(p): p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))}


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_keeps_the_house_rules(module):
    assert violations(module, SOURCES[module].read_text(encoding="utf-8"), set(SOURCES)) == []


def test_every_pure_module_has_a_place_and_every_place_a_module():
    assert {module for module in SOURCES if part_of(module) == CORE} == set(LAYER_OF)


MODULES = {
    "adaswitch.errors",
    "adaswitch.rollout",
    "adaswitch.policies",
    "adaswitch.io.cluster",
    "services.teacher",
}

FORBIDDEN = {
    "up": ("adaswitch.rollout", "from adaswitch.policies import AdaSwitch", "not below"),
    "up, by the package": ("adaswitch.rollout", "from adaswitch import policies", "not below"),
    "up, inside a function": ("adaswitch.rollout", "def f():\n    import adaswitch.policies", "not below"),
    "sideways": ("adaswitch.draft", "import adaswitch.losses", "not below"),
    "without a place": ("adaswitch.newcomer", "import adaswitch.errors", "no place in LAYERS"),
    "relative": ("adaswitch.policies", "from .rollout import Rollout", "whole name"),
    "core to io": ("adaswitch.policies", "from adaswitch.io import cluster", "imports adaswitch.io"),
    "core to cli": ("adaswitch.policies", "import adaswitch.cli", "imports adaswitch.cli"),
    "core to a service": ("adaswitch.policies", "import services.student.worker", "imports services.student"),
    "core to httpx": ("adaswitch.policies", "import httpx", "imports httpx"),
    "core to ray": ("adaswitch.policies", "from ray.util import queue", "imports ray"),
    "core to transformers": ("adaswitch.decoding", "import transformers", "imports transformers"),
    "core to sockets": ("adaswitch.wire", "import socket", "imports socket"),
    "core to urllib": ("adaswitch.wire", "from urllib.request import urlopen", "imports urllib"),
    "io to cli": ("adaswitch.io.launch", "from adaswitch.cli import app", "imports adaswitch.cli"),
    "io to trainer": ("adaswitch.io.launch", "import trainer.loop", "imports trainer"),
    "cli to a service": ("adaswitch.cli", "from services.teacher import app", "imports services.teacher"),
    "cli to trainer": ("adaswitch.cli_run", "def f():\n    import trainer", "imports trainer"),
    "cli to experiments": ("adaswitch.cli", "import experiments.compare", "imports experiments"),
    "service to service": (
        "services.teacher.app",
        "import services.student.worker",
        "imports services.student",
    ),
    "student to trainer": ("services.student.worker", "import trainer", "imports trainer"),
    "trainer to teacher": ("trainer.loop", "from services import teacher", "imports services.teacher"),
    "trainer to cli": ("trainer.loop", "import adaswitch.cli", "imports adaswitch.cli"),
    "ray.remote as a decorator": (
        "trainer.loop",
        "import ray\n@ray.remote\nclass A: ...",
        "away from the edge",
    ),
    "ray.remote called": ("services.student.worker", "actor = ray.remote(Worker)", "away from the edge"),
    "ray.remote by name": ("trainer.loop", "from ray import remote", "away from the edge"),
    "open": ("adaswitch.wire", "open('x')", "calls open()"),
    "Path.open": ("adaswitch.wire", "with path.open('rb') as f: ...", "calls path.open()"),
    "Path.read_text": ("adaswitch.wire", "text = Path('x').read_text()", "read_text()"),
    "Path.write_bytes": ("adaswitch.wire", "path.write_bytes(b'')", "write_bytes()"),
    "safetensors file": ("adaswitch.wire", "load_file('x')", "calls load_file()"),
    "torch.load": ("adaswitch.wire", "torch.load('x')", "calls torch.load()"),
}

ALLOWED = {
    "down": ("adaswitch.policies", "from adaswitch import errors, rollout\nimport numpy as np, math, torch"),
    "io to core and libraries": (
        "adaswitch.io.launch",
        "import httpx, os, ray\nfrom adaswitch import policies",
    ),
    "io to io": ("adaswitch.io.launch", "from adaswitch.io import cluster\nopen('x')"),
    "cli to io": ("adaswitch.cli", "import typer\nfrom adaswitch.io import cluster"),
    "ray.remote in io": ("adaswitch.io.cluster", "ray.remote(Queue)"),
    "ray.remote at the student's edge": ("services.student.actor", "ray.remote(Worker)"),
    "a handle's method": ("trainer.loop", "queue.put.remote(1)"),
    "service to io": ("services.teacher.app", "import fastapi\nfrom adaswitch.io import cluster"),
    "within a service": ("services.teacher.app", "from services.teacher import routes"),
    "experiments to everything": (
        "experiments.compare",
        "import trainer, services.teacher, adaswitch.io.cluster",
    ),
}


@pytest.mark.parametrize(("module", "source", "message"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_is_forbidden_is_found(module, source, message):
    found = violations(module, source, MODULES)
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(("module", "source"), ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed_is_not_complained_about(module, source):
    assert violations(module, source, MODULES) == []
