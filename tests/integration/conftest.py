"""What the tests of several files use in turn."""

from collections.abc import Iterator

import pytest

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
