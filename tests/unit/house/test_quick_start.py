"""What only starts others, and what is checked before anything is loaded, does without the libraries that load slowly.

torch takes 2 seconds to import and transformers' models 5 more, and a run is as many processes as it has parts.
"""

import subprocess
import sys

import pytest

SLOW = ("torch", "transformers", "vllm")
QUICK = {
    "the command line": (
        "adaswitch.commands.cli",
        "adaswitch.commands.progress",
        "adaswitch.commands.launch",
        "adaswitch.commands.runs",
    ),
    "Ray's head": ("adaswitch.cluster.head",),
    "rollout queue and weight board": ("adaswitch.cluster.actors",),
    "the student service": ("services.student.__main__", "adaswitch.runs.recorded", "services.student.host"),
    "what the teacher checks first": (
        "services.teacher.__main__",
        "adaswitch.contract.keys",
        "services.teacher.http.binding",
        "services.teacher.http.keys",
        "adaswitch.data.model_folder",
        "services.vllm.environment",
    ),
}
PROGRAM = """
import importlib, sys
slow = sys.argv[1].split(",")
for name in sys.argv[2:]:
    importlib.import_module(name)
    found = [library for library in slow if library in sys.modules]
    if found:
        sys.exit(f"{name} imports {found[0]}")
"""


def run(*modules: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, ",".join(SLOW), *modules]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("modules", QUICK.values(), ids=QUICK)
def test_nothing_slow_is_imported(modules):
    done = run(*modules)
    assert done.returncode == 0, done.stderr


def test_a_slow_one_is_found():
    assert (
        "adaswitch.method.distribution imports torch"
        in run("adaswitch.errors", "adaswitch.method.distribution").stderr
    )
