"""Checks that vLLM is installed, and sets its environment variables. Imports neither vLLM nor torch."""

import importlib.util
import os

from adaswitch.errors import EnvironmentProblem

CPU_BLOCK_SIZE = 32
"""The tokens in a block of the cache on CPU, the least that vLLM's kernels take. With vLLM's own 128, chunks of 32
tokens found almost nothing of what stands before them."""


def is_vllm_installed() -> bool:
    """Whether vLLM can be imported. It is not imported, which takes seconds."""
    return importlib.util.find_spec("vllm") is not None


def check_vllm_installed(setting: str, instead: str) -> None:
    """Raises ``EnvironmentProblem`` with ``setting`` if vLLM is not installed. ``instead`` is the other way out."""
    if not is_vllm_installed():
        raise EnvironmentProblem(
            f"{setting}: vllm is not installed; get it with `pip install 'adaswitch[vllm]'` "
            f"(`make setup` in the repository), or {instead}"
        )


def set_environment(num_threads: int) -> None:
    """Set the variables that vLLM and torch read when they are imported. A variable that the user has set stays."""
    defaults = {
        "OMP_NUM_THREADS": str(num_threads),
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # On GPUs, vLLM computes float32 attention with Triton. By default Triton multiplies matrices in TF32, which
        # keeps only 10 bits of each number.
        "TRITON_F32_DEFAULT": "ieee",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def set_in_process_environment() -> None:
    """Set what makes vLLM compute in this process, with its first model runner, even if the user has set otherwise."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"


def set_cpu_environment(eager: bool) -> None:
    """Set the further variables that vLLM needs on a CPU, even if the user has set them."""
    # Makes the engine's process run the model itself instead of starting a worker, which halves the start-up time.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if eager:
        # Even in eager mode vLLM would compile small helpers of its sampler, for which it needs a C++ compiler.
        os.environ["TORCH_COMPILE_DISABLE"] = "1"
