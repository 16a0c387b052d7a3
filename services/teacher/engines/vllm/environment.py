"""Whether vLLM is there, and what it reads from the environment. Imports neither it nor torch."""

import importlib.util
import os

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import EnvironmentProblem


def check_vllm_installed() -> None:
    """Raises ``EnvironmentProblem`` where vLLM is missing."""
    if importlib.util.find_spec("vllm") is None:
        raise EnvironmentProblem(
            "engine: vllm is not installed; get it with `pip install 'adaswitch[vllm]'` "
            "(`make setup` in the repository), or use --engine transformers"
        )


def set_environment(config: TeacherServiceConfig) -> None:
    """What vLLM and torch read from the environment, before they are imported. The user's own values stay."""
    defaults = {
        "OMP_NUM_THREADS": str(config.num_threads),
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # On GPUs vLLM's attention in float32 is Triton's, whose matrix products have 10 bits otherwise (TF32).
        "TRITON_F32_DEFAULT": "ieee",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def set_cpu_environment(eager: bool) -> None:
    """As ``set_environment``, where vLLM runs on CPU."""
    # Lets the engine's process do the work itself instead of starting a worker: half the start-up time.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if eager:
        # Small helpers of vLLM's sampler would still be compiled, for which a machine needs a C++ compiler.
        os.environ["TORCH_COMPILE_DISABLE"] = "1"
