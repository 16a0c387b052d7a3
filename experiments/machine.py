"""Describes, in one line, the machine that figures were measured on."""

import os

import psutil
import torch
import transformers

from adaswitch.runs.environment import processor


def machine() -> str:
    """Processor, cores, memory, GPU, and the library versions that the numbers depend on. No host name, no path."""
    memory_gib = psutil.virtual_memory().total / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{os.cpu_count()} cores ({processor()}), {memory_gib:.0f} GiB, {gpu}; "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )
