"""Methods that the service adds to vLLM's worker, in the engine's process. vLLM finds their class by its name."""

import math
import os
import select
import signal
import threading
from typing import Any

START = "teacher_start"
"""Key in the ``extra_args`` of a scoring request: the number of tokens before the first row that was asked for."""


class TeacherWorkerExtension:
    """Methods that the service calls with ``collective_rpc`` once the model is loaded."""

    model_runner: Any

    def teacher_drop_padding_rows(self, vocab_size: int) -> None:
        """Cut the logits to the tokens that exist, before any softmax, top-k or drawing."""
        from vllm.model_executor.layers.logits_processor import LogitsProcessor

        # vLLM's two model runners have different names for what drafts.
        drafters = [getattr(self.model_runner, name, None) for name in ("drafter", "speculator")]
        drafts = [getattr(drafter, "model", None) for drafter in drafters]
        for model in (self.model_runner.get_model(), *filter(None, drafts)):
            for module in model.modules():
                if isinstance(module, LogitsProcessor):
                    module.org_vocab_size = vocab_size

    def teacher_mark_missing_rows(self) -> None:
        """Make every log-probability of a prompt NaN until it is computed.

        vLLM allocates uninitialised memory for them, and never writes the entries of cached tokens. Without NaN,
        these entries could be another request's log-probabilities, which look plausible.
        """
        from vllm.v1.outputs import LogprobsTensors

        allocate = LogprobsTensors.empty_cpu

        def allocate_marked(num_positions: int, num_tokens_per_position: int) -> LogprobsTensors:
            tensors = allocate(num_positions, num_tokens_per_position)
            tensors.logprobs.fill_(math.nan)
            tensors.logprob_token_ids.zero_()
            return tensors

        LogprobsTensors.empty_cpu = staticmethod(allocate_marked)

    def teacher_cut_rows(self) -> None:
        """Drop a request's rows before ``extra_args[START]`` in this process, instead of sending them.

        vLLM makes a row for every prompt token, even for a cached token, and turns every entry into a Python number
        to send it: for a chunk after a long prefix, that takes longer than computing the chunk.
        """
        runner = self.model_runner
        if not hasattr(runner, "_get_prompt_logprobs_dict"):  # vLLM's second model runner does not have it
            return
        all_rows = runner._get_prompt_logprobs_dict

        def cut_rows(*arguments: Any) -> dict[str, Any]:
            found: dict[str, Any] = all_rows(*arguments)
            return {key: _from_start(rows, runner.requests[key]) for key, rows in found.items()}

        runner._get_prompt_logprobs_dict = cut_rows

    def teacher_skip_ranks(self) -> None:
        """Do not compute each token's rank in the vocabulary: no answer has ranks, and they cost two softmaxes."""
        import torch
        from vllm.v1.sample import sampler

        def no_ranks(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(values), dtype=torch.int64, device=x.device)

        sampler.batched_count_greater_than = no_ranks

    def teacher_spare_generators(self) -> None:
        """Keep a seeded request from drawing a token before its whole prompt is computed.

        If vLLM computes a prompt in parts, it draws a token after each part, and then rewinds the request's random
        generator. A generator on a CPU cannot be rewound: the engine would die.
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

    def teacher_mend_temperatures(self) -> None:
        """Give each token of a draft its request's temperature.

        vLLM's build for CPUs computes these temperatures into a copy and drops it, so that it would divide the logits
        by whatever the memory holds, and draw from another distribution than the teacher's.
        """
        if self.model_runner.device.type == "cpu":
            from vllm.v1.sample import rejection_sampler

            rejection_sampler._expand = repeat_for_tokens

    def teacher_exit_with(self, service_pid: int) -> None:
        """Kill this process, and the engine's process that started it, as soon as the service's process has ended.

        Otherwise, if the service is killed and cannot shut the engine down, the engine would wait for it forever.
        """
        if not hasattr(os, "pidfd_open"):  # only Linux has it
            return
        engine_pid = os.getppid()
        service = os.pidfd_open(service_pid)

        def wait() -> None:
            select.select([service], [], [])
            if engine_pid != service_pid and os.getppid() == engine_pid:
                os.kill(engine_pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=wait, daemon=True, name="exit-with-service").start()


def repeat_for_tokens(output: Any, values: Any, ends: Any, replaced: float, by: float) -> None:  # noqa: ANN401
    """Write each request's value to the places of its tokens in ``output [tokens]``, with ``by`` for ``replaced``.

    ``values [requests]`` and ``output`` are tensors, and so is ``ends [requests]``, where each request's tokens end.
    """
    import torch

    counts = torch.diff(ends, prepend=ends.new_zeros(1)).long()
    output.copy_(values.masked_fill(values == replaced, by).repeat_interleave(counts))


def _from_start(rows: Any, request: Any) -> Any:  # noqa: ANN401
    """The part of ``rows`` that ``request`` asked for. Row i is the distribution after i + 1 tokens."""
    if rows is None:
        return None
    start = (request.sampling_params.extra_args or {}).get(START, 1)
    tensors = ("logprob_token_ids", "logprobs", "selected_token_ranks")
    return rows._replace(**{name: getattr(rows, name)[start - 1 :] for name in tensors})
