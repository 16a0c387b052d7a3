"""Real services for the integration tests: free ports, a config for short runs, commands as a user types them."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from adaswitch.io.config_files import read_yaml

COMMAND_TIMEOUT_S = 300


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
