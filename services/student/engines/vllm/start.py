"""Starts vLLM's engine in this process, and says in one line why it did not start."""

from typing import TYPE_CHECKING, Any

import torch

from adaswitch.config.student import StudentConfig
from adaswitch.errors import ModelError
from adaswitch.last_words import one_line
from services.student.engines.engine import Sampling
from services.student.engines.vllm.llm import StudentLLM
from services.vllm.environment import (
    CPU_BLOCK_SIZE,
    check_vllm_installed,
    set_cpu_environment,
    set_environment,
    set_in_process_environment,
)
from services.vllm.log import EngineLog

if TYPE_CHECKING:
    from vllm.v1.engine.llm_engine import LLMEngine

WORKER_EXTENSION = "services.student.engines.vllm.worker.StudentWorkerExtension"
INSTEAD = "set student.engine=transformers"
MAX_SEQUENCES = 256
"""The most requests in one step. More of them wait."""
MAX_BATCHED_TOKENS = 4096
"""The most tokens in one step. Longer prompts are read in several steps."""


def start_vllm(
    config: StudentConfig, vocab_size: int, sampling: Sampling, max_tokens: int, *, on_gpu: bool
) -> StudentLLM:
    """The engine, in this process and this thread, for sequences of at most ``max_tokens``.

    If the cache does not hold so long a sequence, its own ``max_tokens`` is less. Raises ``EnvironmentProblem`` if
    vLLM is not installed, and ``ModelError`` if it cannot run the model.
    """
    check_vllm_installed("student.engine", INSTEAD)
    set_environment(torch.get_num_threads())
    log = EngineLog()
    try:
        with log.capture():
            engine = _started(config, max_tokens, on_gpu=on_gpu)
            return StudentLLM(engine, sampling.seed, sampling.temperature, vocab_size, on_gpu=on_gpu)
    except Exception as error:
        # What vLLM raises may only say that something else has failed, which it has printed.
        reason = log.reason() or one_line(error)
        raise ModelError(cannot_run(config.model, reason, on_gpu=on_gpu)) from error


def cannot_run(folder: str, reason: str, *, on_gpu: bool) -> str:
    """One line with the ``reason`` for which vLLM does not run the model, and the fix."""
    memory = "student.gpu_memory_utilization" if on_gpu else "student.kv_cache_gib"
    about_memory = any(words in reason.lower() for words in ("kv cache", "auto-fit", "free memory"))
    fix = f"set {memory} to what fits, or {INSTEAD}" if about_memory else INSTEAD
    return f"student.engine: vllm cannot run {folder!r}: {reason}; {fix}"


def _started(config: StudentConfig, max_tokens: int, *, on_gpu: bool) -> "LLMEngine":
    eager = not on_gpu if config.enforce_eager is None else config.enforce_eager
    set_in_process_environment()
    if not on_gpu:
        set_cpu_environment(eager)

    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    arguments: dict[str, Any] = {
        "model": config.model,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",  # the model folder's would bring other sampling settings and stop tokens
        "dtype": config.dtype,
        "max_model_len": max_tokens,
        "max_num_seqs": MAX_SEQUENCES,
        "max_num_batched_tokens": MAX_BATCHED_TOKENS,
        "enforce_eager": eager,
        "enable_prefix_caching": True,
        "block_size": config.kv_block_size or (None if on_gpu else CPU_BLOCK_SIZE),
        "distributed_executor_backend": "uni",
        "async_scheduling": False,  # a token's place in the completion is known only once the last one is
        "kv_cache_memory_bytes": None if on_gpu else int(config.kv_cache_gib * 2**30),
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "worker_extension_cls": WORKER_EXTENSION,
        "disable_log_stats": True,
    }
    whole = EngineArgs(**arguments).create_engine_config()
    # vLLM then shortens the longest sequence to what its cache holds, and does not refuse to start.
    whole.model_config.original_max_model_len = -1
    return LLMEngine.from_vllm_config(whole, disable_log_stats=True)
