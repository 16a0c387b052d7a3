"""The teacher on vLLM's ``AsyncLLM``, used as a library: no detokenising, no dictionaries per token.

Unlike vLLM's default, scoring reads the prefix cache: a chunk after a long prefix then costs only the chunk. vLLM
computes no log-probabilities for cached tokens, so a row that was asked for may be missing: then the sequence is
scored again without the cache.
"""

import asyncio
import itertools
import os
import re
import signal
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.wire import GeneratePrompt, GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from adaswitch.data.threads import teacher_threads
from adaswitch.errors import ModelError
from adaswitch.last_words import killed, num_memory_kills, one_line
from adaswitch.processes.cores import num_cores
from services.teacher.engines.engine import (
    EngineFaultError,
    EngineLostError,
    RequestRefusedError,
    all_or_none,
    in_daemon_thread,
)
from services.teacher.engines.model_folder import ModelFacts, model_info, other_engine, read_model_folder
from services.teacher.engines.vllm.arrays import keep_prompt_arrays
from services.teacher.engines.vllm.processes import end_descendants
from services.teacher.engines.vllm.rows import MissingRowError, generated_answer, scored_answer
from services.teacher.engines.vllm.speculative import speculative_settings
from services.teacher.engines.vllm.worker import START
from services.vllm.environment import (
    CPU_BLOCK_SIZE,
    check_vllm_installed,
    set_cpu_environment,
    set_environment,
)
from services.vllm.log import EngineLog

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

WORKER_EXTENSION = "services.teacher.engines.vllm.worker.TeacherWorkerExtension"
MAX_BATCHED_TOKENS = 4096
NUM_TRIED = 130
"""The tokens of the text that the engine is tried with at its start: more than a block of any cache on CPU."""
_EXIT_CODE = re.compile(r"'\w+': (-\d+)")
MAX_LOGITS = 2**28
"""Most logits of one engine step: vLLM computes all log-probabilities of a step at once, here 1 GiB in float32."""


class VLLMEngine:
    """A ``TeacherEngine`` that runs the model with vLLM, whose engine is a process of its own."""

    def __init__(self, config: TeacherServiceConfig) -> None:
        self._config = config
        self._llm: AsyncLLM | None = None
        self._info: ModelInfo | None = None
        self._draft: dict[str, Any] | None = None
        self._request_numbers = itertools.count()
        self._block_size = 0
        self._closing = False
        self._log = EngineLog()
        self._num_memory_kills = num_memory_kills()
        self._built = threading.Event()
        self._built.set()

    @property
    def info(self) -> ModelInfo:
        """The model that is served, and its limits."""
        if self._info is None:
            raise EngineLostError("the engine has not started")
        return self._info

    @property
    def alive(self) -> bool:
        """False once the engine's process has died."""
        return self._llm is not None and not self._llm.errored

    def why_lost(self) -> str | None:
        """The first exception that the engine's process printed, or the signal that killed it; None if neither was."""
        return self._log.reason() or _killed_by(_exit_codes(self._llm), self._num_memory_kills)

    async def start(self) -> None:
        """Load the model in a process of its own, and check that it answers a request."""
        check_vllm_installed("engine", "use --engine transformers")
        set_environment(teacher_threads(self._config, num_cores()))
        facts = await in_daemon_thread(lambda: read_model_folder(self._config))
        for note in facts.notes:
            print(note, flush=True)
        self._draft = await in_daemon_thread(lambda: speculative_settings(self._config, facts))
        if (reason := await self._start_or_reason(facts)) is not None:
            raise ModelError(
                f"model: vLLM cannot serve {self._config.model!r}: {reason}; {other_engine(self._config)}"
            )
        self._info = model_info(self._config, facts)

    async def _start_or_reason(self, facts: ModelFacts) -> str | None:
        """Start the engine. Returns None once it runs, else the reason why it does not."""
        try:
            with self._log.capture():
                await self._start_engine(facts)
        except Exception as error:
            # vLLM's own error only says which of its processes ended, and how.
            codes = [int(code) for code in _EXIT_CODE.findall(str(error))]
            return self._log.reason() or _killed_by(codes, self._num_memory_kills) or one_line(error)
        return None

    async def _start_engine(self, facts: ModelFacts) -> None:
        self._built.clear()
        llm = await in_daemon_thread(lambda: self._build(facts))
        self._llm = llm
        await llm.collective_rpc("teacher_exit_with", args=(os.getpid(),))
        if facts.vocab_size < facts.num_embedding_rows:
            await llm.collective_rpc("teacher_drop_padding_rows", args=(facts.vocab_size,))
        await llm.collective_rpc("teacher_mark_missing_rows")
        await llm.collective_rpc("teacher_cut_rows")
        await llm.collective_rpc("teacher_skip_ranks")
        await llm.collective_rpc("teacher_spare_generators")
        await llm.collective_rpc("teacher_mend_temperatures")
        self._block_size = llm.vllm_config.cache_config.block_size
        # A model that vLLM's kernels do not support may fail only at its first request, or at its first long one, which
        # kills the engine.
        for length in (1, min(NUM_TRIED, facts.max_model_len - 1)):
            await self.score([ScoreSequence(token_ids=[0] * length, start=1)], top_k=0)

    def _build(self, facts: ModelFacts) -> "AsyncLLM":
        try:
            return self._start_vllm(facts)
        finally:
            self._built.set()

    def _start_vllm(self, facts: ModelFacts) -> "AsyncLLM":
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = self._arguments(facts)
        if self._closing:
            raise EngineLostError("closed while starting")
        self._prepare_outputs()
        return AsyncLLM.from_engine_args(arguments)

    def _prepare_outputs(self) -> None:
        keep_prompt_arrays()

    def _arguments(self, facts: ModelFacts) -> "AsyncEngineArgs":
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform

        config = self._config
        on_cpu = current_platform.is_cpu()
        eager = on_cpu if config.enforce_eager is None else config.enforce_eager
        if on_cpu:
            set_cpu_environment(eager)
        max_batched_tokens = max(256, min(MAX_BATCHED_TOKENS, MAX_LOGITS // facts.num_embedding_rows))
        settings: dict[str, Any] = {
            "model": config.model,
            "skip_tokenizer_init": True,
            "generation_config": "vllm",  # the model folder's would bring other sampling settings and stop tokens
            "dtype": facts.dtype,
            "max_model_len": facts.max_model_len,
            "max_logprobs": min(config.max_top_k, facts.vocab_size),
            "max_num_batched_tokens": max_batched_tokens,
            "max_num_seqs": min(256, max_batched_tokens),
            "enforce_eager": eager,
            "enable_prefix_caching": True,
            "block_size": kv_block_size(config, on_cpu=on_cpu),
            "distributed_executor_backend": "uni" if on_cpu else None,
            "kv_cache_memory_bytes": int(config.kv_cache_gib * 2**30) if on_cpu else None,
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "tensor_parallel_size": config.tensor_parallel_size,
            "speculative_config": self._draft,
            "worker_extension_cls": WORKER_EXTENSION,
        }
        return AsyncEngineArgs(**settings)

    async def score(self, sequences: Sequence[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """Score all sequences at the same time, each as a vLLM request of its own."""
        return await all_or_none(self._score(sequence, top_k) for sequence in sequences)

    async def _score(self, sequence: ScoreSequence, top_k: int) -> SequenceAnswer:
        # The cache holds whole blocks, so it cannot hold a prefix that is shorter than a block.
        if sequence.start > self._block_size:
            try:
                return await self._score_once(sequence, top_k, read_cache=True)
            except MissingRowError:
                pass
        return await self._score_once(sequence, top_k, read_cache=False)

    async def _score_once(self, sequence: ScoreSequence, top_k: int, *, read_cache: bool) -> SequenceAnswer:
        # vLLM draws at least one token; the distribution that this token is drawn from is the answer's last row.
        params = _sampling_params(
            max_tokens=1,
            temperature=0.0,
            logprobs=top_k,
            prompt_logprobs=top_k,
            skip_reading_prefix_cache=not read_cache,
            extra_args={START: sequence.start},
        )
        output = await self._final_output(sequence.token_ids, params)
        return scored_answer(
            sequence,
            output.prompt_logprobs,
            output.outputs[0].logprobs,
            top_k,
            num_cached=output.num_cached_tokens or 0,
        )

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """Continue all prompts at the same time, each as a vLLM request of its own."""
        return await all_or_none(self._generate(prompt, request) for prompt in request.prompts)

    async def _generate(self, prompt: GeneratePrompt, request: GenerateRequest) -> SequenceAnswer:
        params = _sampling_params(
            max_tokens=prompt.max_tokens,
            seed=prompt.seed,
            stop_token_ids=prompt.stop_token_ids,
            temperature=request.temperature,
            top_p=request.top_p,
            logprobs=request.top_k,
        )
        output = (await self._final_output(prompt.token_ids, params)).outputs[0]
        if output.finish_reason not in ("stop", "length"):
            raise EngineLostError(f"vLLM ended a request by itself ({output.finish_reason})")
        return generated_answer(output.token_ids, output.logprobs, request.top_k, output.finish_reason)

    async def _final_output(self, token_ids: list[int], params: "SamplingParams") -> Any:  # noqa: ANN401
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        llm = self._running()
        request_id = str(next(self._request_numbers))
        try:
            outputs = [output async for output in llm.generate(tokens_input(token_ids), params, request_id)]
        except VLLMClientError as error:
            raise RequestRefusedError(str(error)) from error
        except EngineDeadError as error:
            raise EngineLostError("vLLM's engine process has died") from error
        except EngineGenerateError as error:
            raise EngineFaultError(f"vLLM failed on this request: {error.__cause__!r}") from error
        return outputs[-1]

    def _running(self) -> "AsyncLLM":
        if self._llm is None:
            raise EngineLostError("vLLM's engine is not running")
        return self._llm

    async def close(self) -> None:
        """End vLLM's processes, even if the engine is still starting."""
        self._closing = True
        if not self._built.is_set():
            await asyncio.to_thread(end_descendants)
            await asyncio.to_thread(self._built.wait, 5.0)
        llm: Any = self._llm
        self._llm = None
        if llm is not None:
            await _stop_reading(llm)
            await asyncio.to_thread(llm.shutdown)
            # ``AsyncLLM.__del__`` would shut down again, and print an error if the interpreter is half torn down.
            llm.shutdown = lambda: None

    def metrics_text(self) -> str:
        """vLLM's own metrics, which vLLM keeps in prometheus_client's global registry."""
        from prometheus_client import generate_latest

        return generate_latest().decode()


def _exit_codes(llm: "AsyncLLM | None") -> list[int]:
    """The exit codes of vLLM's processes that have ended."""
    resources: Any = getattr(getattr(llm, "engine_core", None), "resources", None)
    manager = getattr(resources, "engine_manager", None)
    return [] if manager is None else list(manager.finished_procs().values())


def _killed_by(exit_codes: Sequence[int], earlier_memory_kills: int) -> str | None:
    """How a signal ended one of vLLM's processes. SIGTERM does not count, as the other processes are ended by it."""
    memory_ran_out = num_memory_kills() > earlier_memory_kills
    causes = [killed(code, memory_ran_out) for code in exit_codes if code != -signal.SIGTERM]
    named = next((cause for cause in causes if cause is not None), None)
    return f"vLLM's engine process was {named}" if named else None


def kv_block_size(config: TeacherServiceConfig, *, on_cpu: bool) -> int | None:
    """The number of tokens in a block of the cache; None for vLLM's own choice."""
    if config.kv_block_size is None and on_cpu:
        return CPU_BLOCK_SIZE
    return config.kv_block_size


async def _stop_reading(llm: "AsyncLLM") -> None:
    """Cancel the task that reads vLLM's answers, and fail all requests that still wait for an answer.

    Otherwise the task would take the end of the engine's process for a crash, and print a stack trace.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    if llm.output_handler is not None:
        llm.output_handler.cancel()
        await asyncio.gather(llm.output_handler, return_exceptions=True)
    llm.output_processor.propagate_error(EngineDeadError())


def _sampling_params(**settings: Any) -> "SamplingParams":
    """``settings`` with options that keep vLLM's answer small: no text, no dictionaries, one output at the end."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        **settings,
        flat_logprobs=True,
        detokenize=False,
        ignore_eos=True,  # only stop_token_ids may end a completion
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )
