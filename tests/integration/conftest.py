"""What the tests of several files use in turn."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.browser import chromium, complaints
from tests.teacher_process import TeacherProcess


@pytest.fixture(scope="session")
def demo_teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeacherProcess]:
    """The demo's teacher on vLLM. The last test that takes it kills its engine."""
    options = ("--dtype", "float32", "--max-model-len", "128")
    process = TeacherProcess(
        tmp_path_factory.mktemp("demo_teacher") / "log", "models/chain-teacher", *options
    )
    try:
        yield process.wait_until_ready(200.0)
    finally:
        process.end()


@pytest.fixture(scope="session")
def started_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, which the tests of all pages use in turn."""
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def browser(started_browser: Any) -> Any:
    """The browser, with no page in it and nothing on its console."""
    started_browser.get("about:blank")
    complaints(started_browser)
    return started_browser


@pytest.fixture
def write_plan(tmp_path: Path, free_port: int) -> Callable[..., Path]:
    """Writes a plan of two methods and one seed; keywords replace its settings."""

    def write(**changes: object) -> Path:
        plan = {
            "name": "two",
            "runs_dir": str(tmp_path / "runs"),
            "base": "configs/demo.yaml",
            "seeds": [7],
            "settings": {
                "task.seed": "{seed}",
                "teacher.serve.engine": "transformers",
                "teacher.serve.port": free_port,
                "teacher.url": f"http://127.0.0.1:{free_port}",
                "trainer.num_steps": 24,
                "trainer.prompts_per_step": 8,
                "trainer.eval_every": 12,
                "trainer.eval_prompts": 20,
            },
            "methods": {"adaswitch": {}, "on_policy": {"policy": {"kind": "on_policy"}}},
        }
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump({**plan, **changes}))
        return path

    return write
