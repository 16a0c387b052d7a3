"""One engine and one build for all tests of this folder, and stacks in folders of their own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import ROOT, Engine, an_engine
from tests.containers.stack import Stack

PARTS = ("docker-compose.yml", "docker", "configs", ".env.example")


@pytest.fixture(scope="session", autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.fail("needs root: it gives runs/ away, and kills containers' processes from outside")


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with an_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def images(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The images' sizes by name, as the build printed them."""
    printed = engine.build(tmp_path_factory.mktemp("build")).splitlines()
    sizes = dict(line.split(" ", 1) for line in printed if line.startswith("adaswitch-"))
    print("\n" + "\n".join(f"{name}: {size}" for name, size in sizes.items()))
    return sizes


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what compose needs of the repository; what runs there leaves the repository's own alone."""
    folder = tmp_path / "adaswitch-test"
    folder.mkdir()
    for part in PARTS:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, folder / part)
    for model in ("chain-teacher", "chain-student"):
        shutil.copytree(ROOT / "models" / model, folder / "models" / model)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def stack(engine: Engine, images: dict[str, str], project: Path) -> Iterator[Stack]:
    """The stack with its .env, down again at the end, with its volumes."""
    (project / "runs").mkdir()
    # Not root: the runs' owner is whoever the .env names.
    os.chown(project / "runs", 1234, 1234)
    stack = Stack(engine, project)
    stack.write_env(ADASWITCH_USER="1234:1234")
    yield stack
    stack.down()
