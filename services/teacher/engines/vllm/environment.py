"""Checks that vLLM is installed, and sets its environment variables. Imports neither vLLM nor torch."""

import importlib.util
import os

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.data.threads import teacher_threads
from adaswitch.errors import EnvironmentProblem
from adaswitch.processes.cores import num_cores


def check_vllm_installed() -> None:
    """Raises ``EnvironmentProblem`` if vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise EnvironmentProblem(
            "engine: vllm is not installed; get it with `pip install 'adaswitch[vllm]'` "
            "(`make setup` in the repository), or use --engine transformers"
        )


def set_environment(config: TeacherServiceConfig) -> None:
    """Set the variables that vLLM and torch read when they are imported. A variable that the user has set stays."""
    defaults = {
        "OMP_NUM_THREADS": str(teacher_threads(config, num_cores())),
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # On GPUs, vLLM computes float32 attention with Triton. By default Triton multiplies matrices in TF32, which
        # keeps only 10 bits of each number.
        "TRITON_F32_DEFAULT": "ieee",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def set_cpu_environment(eager: bool) -> None:
    """Set the further variables that vLLM needs on a CPU, even if the user has set them."""
    # Makes the engine's process run the model itself instead of starting a worker, which halves the start-up time.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if eager:
        # Even in eager mode vLLM would compile small helpers of its sampler, for which it needs a C++ compiler.
        os.environ["TORCH_COMPILE_DISABLE"] = "1"
