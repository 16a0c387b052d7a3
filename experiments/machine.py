"""Describes, in one line, the machine that figures were measured on."""

import os
import platform
from pathlib import Path

import psutil
import torch
import transformers


def machine() -> str:
    """Processor, cores, memory, GPU, and the library versions that the numbers depend on. No host name, no path."""
    memory_gib = psutil.virtual_memory().total / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory_gib:.0f} GiB, {gpu}; "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )


def _processor() -> str:
    """The processor's name if Linux says it, else its architecture."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
