"""Checks of this machine: devices, engines, ports, folders. Imports neither torch nor an engine."""

import importlib.util
import os
import re
from importlib import metadata
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.keys import require_key, split_keys
from adaswitch.errors import ConfigError, EnvironmentProblem
from adaswitch.processes.managed import require_free_port

DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")
VLLM_DEVICES = ("auto", "cpu", "cuda", "cuda:0")
GPU_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Files that a machine with a GPU for CUDA or ROCm has, on Linux and on Windows' Linux."""
KEY_VARIABLE = "ADASWITCH_API_KEY"


def check_devices(config: RunConfig, *, trainer: bool, students: bool) -> None:
    """Raises ``UserError`` for a device that torch has no name for, or that cannot be there.

    ``trainer`` and ``students`` say which of them are to run on this machine. What can only be asked of torch is left
    to ``check_torch_device``.
    """
    for setting, device, is_here in (
        ("trainer.device", config.trainer.device, trainer),
        ("student.device", config.student.device, students),
    ):
        if not DEVICE.fullmatch(device):
            raise ConfigError(f"{setting}: {device!r} is no device: write auto, cpu, cuda, or cuda:1")
        if is_here and device.startswith("cuda"):
            _require_gpu(setting, f"{device} is asked for", "cpu")
    student = config.student
    if student.engine == "vllm" and student.device not in VLLM_DEVICES:
        raise ConfigError(
            f"student.engine: vllm computes on the CPU or on the first GPU that an actor has, not on {student.device}: "
            "set student.device=auto, or student.engine=transformers"
        )
    wanted = student.num_gpus_per_actor
    if students and wanted > 0:
        _require_gpu("student.num_gpus_per_actor", f"{wanted:g} are asked for", "0")


def _require_gpu(setting: str, what: str, other: str) -> None:
    if metadata.version("torch").endswith("+cpu"):
        reason = "torch here is the CPU build"
    elif not any(os.path.exists(file) for file in GPU_FILES):
        reason = "this machine has no GPU"
    else:
        return
    raise EnvironmentProblem(
        f"{setting}: {what}, but {reason}: set {setting}={other}, or see adaswitch doctor"
    )


def check_torch_device(setting: str, device: str) -> None:
    """Raises ``EnvironmentProblem`` if torch cannot compute on ``device``. Imports torch."""
    import torch

    kind, _, index = device.partition(":")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise EnvironmentProblem(
            f"{setting}: {device} is asked for, but torch finds {torch.cuda.device_count()} GPUs for CUDA: set "
            f"{setting}=cpu, or see adaswitch doctor"
        )


def check_engine(setting: str, engine: str) -> None:
    """Raises ``EnvironmentProblem`` with ``setting`` if the engine that it names is needed here and not installed."""
    if engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise EnvironmentProblem(
            f"{setting}: vllm is not installed; get it with `pip install 'adaswitch[vllm]'` (`make setup` in the "
            f"repository), or set {setting}=transformers"
        )


def check_teacher_address(serve: TeacherServiceConfig) -> None:
    """Raises ``UserError`` if the teacher's port is taken, or if its service would refuse its address or its keys."""
    keys = split_keys(os.environ.get(KEY_VARIABLE, ""))
    file = serve.api_keys_file
    if file is not None and not os.access(file, os.R_OK):
        raise ConfigError(f"teacher.serve.api_keys_file: cannot read {file}: check the path")
    require_key(serve.host, bool(keys or file), serve.insecure, "teacher.serve.host")
    require_free_port(serve.port, "teacher.serve.port", serve.host)


def check_runs_dir(config: RunConfig) -> None:
    """Raises ``EnvironmentProblem`` if the run directory can be neither written to nor made. Makes nothing."""
    reason = why_not_writable(Path(config.runs_dir, config.name))
    if reason is not None:
        raise EnvironmentProblem(
            f"runs_dir: cannot write to {Path(config.runs_dir, config.name)}: {reason}; set runs_dir to a writable "
            "folder"
        )


def why_not_writable(folder: Path) -> str | None:
    """Why ``folder`` can be neither written to nor made; None if it can. Makes nothing."""
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        return f"{place} is a file"
    return None if os.access(place, os.W_OK | os.X_OK) else f"{place} is not writable"
