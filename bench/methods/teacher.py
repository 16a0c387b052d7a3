"""The teacher of a run as a service of its own, started as ``adaswitch run`` starts it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.processes.managed import ManagedProcess
from adaswitch.runs.config_files import write_config
from bench.servers import STOP_GRACE_S, Server, wait_for


@contextmanager
def teacher_of(config: RunConfig, folder: Path) -> Iterator[None]:
    """Run the teacher that ``teacher.serve`` describes, until the block ends. ``folder`` gets its log."""
    path = folder / "teacher.yaml"
    write_config(config, path)
    log = folder / "teacher.log"
    process = ManagedProcess("teacher", "services.teacher", ["--config", str(path)], log, {})
    try:
        wait_for(Server(config.teacher.url, process), "/readyz")
        yield
    finally:
        process.stop(STOP_GRACE_S)
