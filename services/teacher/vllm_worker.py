"""What the service adds to vLLM's worker, in the engine's process. vLLM mixes it in by its name."""

import math
import os
import select
import signal
import threading
from typing import Any


class TeacherWorkerExtension:
    """Called with ``collective_rpc`` once the model is loaded."""

    model_runner: Any

    def teacher_drop_padding_rows(self, vocab_size: int) -> None:
        """Cut the logits to the tokens that exist, before any softmax, top-k or drawing."""
        from vllm.model_executor.layers.logits_processor import LogitsProcessor

        for module in self.model_runner.get_model().modules():
            if isinstance(module, LogitsProcessor):
                module.org_vocab_size = vocab_size

    def teacher_mark_missing_rows(self) -> None:
        """Have every prompt log-probability be NaN until it is computed.

        vLLM allocates them uninitialised, and never fills those of cached tokens in: what is there then may well
        be another request's, and look plausible.
        """
        from vllm.v1.outputs import LogprobsTensors

        allocate = LogprobsTensors.empty_cpu

        def allocate_marked(num_positions: int, num_tokens_per_position: int) -> LogprobsTensors:
            tensors = allocate(num_positions, num_tokens_per_position)
            tensors.logprobs.fill_(math.nan)
            tensors.logprob_token_ids.zero_()
            return tensors

        LogprobsTensors.empty_cpu = staticmethod(allocate_marked)  # type: ignore[method-assign]

    def teacher_exit_with(self, service_pid: int) -> None:
        """Kill this process, and the engine's that started it, as soon as the service's is gone.

        vLLM's engine would wait forever for a service that was killed and could not say goodbye.
        """
        if not hasattr(os, "pidfd_open"):  # Linux alone has it
            return
        engine_pid = os.getppid()
        service = os.pidfd_open(service_pid)

        def wait() -> None:
            select.select([service], [], [])
            if engine_pid != service_pid and os.getppid() == engine_pid:
                os.kill(engine_pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=wait, daemon=True, name="exit-with-service").start()
