"""What the service adds to vLLM's worker, in the engine's process. vLLM mixes it in by its name."""

import math
import os
import select
import signal
import threading
from typing import Any

START = "teacher_start"
"""In a scoring request's extra arguments: the number of tokens before its first row."""


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

    def teacher_cut_rows(self) -> None:
        """Have the rows before ``START`` of a request's extra arguments stay here.

        vLLM makes rows for every prompt token, cached ones too, and a Python number of every entry on their way
        out: for a chunk behind a long prefix that costs more than the chunk.
        """
        runner = self.model_runner
        if not hasattr(runner, "_get_prompt_logprobs_dict"):  # vLLM's second model runner works otherwise
            return
        all_rows = runner._get_prompt_logprobs_dict

        def cut_rows(*arguments: Any) -> dict[str, Any]:
            found: dict[str, Any] = all_rows(*arguments)
            return {key: _from_start(rows, runner.requests[key]) for key, rows in found.items()}

        runner._get_prompt_logprobs_dict = cut_rows

    def teacher_skip_ranks(self) -> None:
        """Have no token's rank among all tokens counted, which is in no answer and costs as much as two softmaxes."""
        import torch
        from vllm.v1.sample import sampler

        def no_ranks(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(values), dtype=torch.int64, device=x.device)

        sampler.batched_count_greater_than = no_ranks  # type: ignore[attr-defined]

    def teacher_spare_generators(self) -> None:
        """Have no seeded request draw before all of its prompt is computed.

        vLLM draws for a prompt that is computed in parts too, and then winds the generator back, which those on
        CPU cannot do: the engine would die of it.
        """
        runner = self.model_runner
        if runner.device.type != "cpu":
            return
        sample = runner.sample_tokens

        def sample_sparing(*arguments: Any) -> Any:  # noqa: ANN401
            generators = runner.input_batch.generators
            in_parts = runner.discard_request_mask.np[: runner.input_batch.num_reqs].nonzero()[0].tolist()
            spared = {row: generators.pop(row) for row in in_parts if row in generators}
            try:
                return sample(*arguments)
            finally:
                generators.update(spared)

        runner.sample_tokens = sample_sparing

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


def _from_start(rows: Any, request: Any) -> Any:  # noqa: ANN401
    """Row i is that of the distribution after i + 1 tokens."""
    if rows is None:
        return None
    start = (request.sampling_params.extra_args or {}).get(START, 1)
    tensors = ("logprob_token_ids", "logprobs", "selected_token_ranks")
    return rows._replace(**{name: getattr(rows, name)[start - 1 :] for name in tensors})
