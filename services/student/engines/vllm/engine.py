"""The student on vLLM, in the actor's own process. Requests come and go at any time, and vLLM batches them.

vLLM computes, batches and caches. What is drawn is decided by ``adaswitch.method.sampling``, as in every engine, and
what each token's distribution follows from is kept until the teacher's candidates are known (``worker``, ``kept``).
"""

import asyncio
import contextlib
import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import torch
from torch import Tensor

from adaswitch.config.student import StudentConfig
from adaswitch.data.model_config import read_model_config, refuse_quantized
from adaswitch.errors import AdaSwitchError, ModelError, StudentLostError, UserError
from adaswitch.last_words import one_line
from adaswitch.method.distribution import outcome_logprobs_of
from adaswitch.method.roles import Chunk
from services.student.engines.engine import Sampling, WriteRequest
from services.student.engines.vllm.kept import MAX_KEPT_BYTES, BoundedRows, Memory
from services.student.engines.vllm.llm import LLM
from services.student.engines.vllm.outline import Outline, extremes
from services.student.engines.vllm.start import cannot_run, start_vllm
from services.student.engines.vllm.thread import SteppingThread
from services.student.engines.vllm.trial import refusal
from services.student.engines.vllm.worker import Slip


@dataclass(frozen=True)
class _Writing:
    """A request under way. ``num_rows`` of ``memory`` were taken for it."""

    prompt_id: int
    num_rows: int
    memory: Memory
    future: "Future[Chunk]"


@dataclass(frozen=True)
class _Asked:
    """Candidates ``ids [n, k]`` that wait for their log-probabilities, which follow from the states ``[n, d]``."""

    states: Tensor
    ids: Tensor
    future: "Future[Tensor]"


class VLLMEngine:
    """A ``ContinuousEngine``. All that touches vLLM runs in one thread, in the order in which it was asked for."""

    def __init__(
        self,
        config: StudentConfig,
        vocab_size: int,
        sampling: Sampling,
        max_tokens: int,
        *,
        on_gpu: bool = False,
    ) -> None:
        """Load the model, and try it (``trial``).

        ``vocab_size`` is V of student and teacher, so padding rows of the embedding can never be drawn. No sequence
        has more than ``max_tokens``. Raises ``UserError`` if vLLM is missing or cannot run the model.
        """
        self._config, self._vocab_size, self._sampling, self._on_gpu = config, vocab_size, sampling, on_gpu
        model = read_model_config(config.model, "student.model")
        refuse_quantized(model, "student.model")
        self._outline = Outline(model, getattr(torch, config.dtype))
        self._extremes: dict[str, Tensor] = {}
        self._numbers = itertools.count()
        self._writing: dict[int, _Writing] = {}
        self._kept: dict[int, weakref.WeakSet[BoundedRows]] = {}
        self._asked: SimpleQueue[_Asked] = SimpleQueue()
        self._lost: StudentLostError | None = None
        self._llm: LLM | None = None
        self._thread = SteppingThread(self, "student-vllm")
        try:
            self._thread.submit(lambda: self._start(max_tokens)).result()
        except BaseException:
            self.close()
            raise

    def _start(self, max_tokens: int) -> None:
        config = self._config
        llm = start_vllm(config, self._vocab_size, self._sampling, max_tokens, on_gpu=self._on_gpu)
        self._llm = llm
        self._max_tokens = llm.max_tokens
        self._memory = Memory(max(1, MAX_KEPT_BYTES // llm.state_bytes))
        self._logits_memory = Memory(MAX_KEPT_BYTES // llm.logits_bytes if llm.logits_bytes else 0)
        try:
            reason = refusal(llm, config.model, config.dtype, self._vocab_size, self._outline)
        except UserError:
            raise
        except Exception as error:  # a model that vLLM's kernels do not support may fail only when it writes
            reason = one_line(error)
        if reason is not None:
            raise self._cannot_run(reason)
        self._reset_cache()

    def _cannot_run(self, reason: str) -> ModelError:
        return ModelError(cannot_run(self._config.model, reason, on_gpu=self._on_gpu))

    async def write(self, request: WriteRequest) -> Chunk:
        """See ``ContinuousEngine``. If the call is cancelled, so is the request."""
        future = self.submit(request)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._thread.submit(lambda: self._abort(lambda writing: writing.future is future))
            raise

    def submit(self, request: WriteRequest) -> "Future[Chunk]":
        """``write`` for callers without an event loop: the future gets the chunk, or the error."""
        self._check_length(request)
        future: Future[Chunk] = Future()
        added = self._thread.submit(lambda: self._add(request, future))
        added.add_done_callback(lambda job: future.cancel() if job.cancelled() else None)
        return future

    def _check_length(self, request: WriteRequest) -> None:
        wanted = len(request.prompt.token_ids) + len(request.completion) + request.num_tokens
        if wanted > self._max_tokens:
            raise ModelError(
                f"student.kv_cache_gib: a sequence of {wanted} tokens is more than the {self._max_tokens} that fit "
                f"into the cache or the model: raise it, or lower student.max_new_tokens"
            )

    def _add(self, request: WriteRequest, future: "Future[Chunk]") -> None:
        if self._lost is not None:
            future.set_exception(self._lost)
            return
        if not future.set_running_or_notify_cancel():
            return
        number, prompt = next(self._numbers), request.prompt
        memory, num_rows = self._take(request.num_tokens)
        keeps_logits = memory is self._logits_memory
        slip = Slip(number, prompt.id, len(request.completion), num_rows, keeps_logits, prompt.greedy)
        try:
            token_ids = [*prompt.token_ids, *request.completion]
            self._running().add(token_ids, slip, self._sampling.stop_token_ids)
        except Exception as error:
            memory.give_back(num_rows)
            future.set_exception(error)
            return
        self._writing[number] = _Writing(prompt.id, num_rows, memory, future)

    def _take(self, num_tokens: int) -> tuple[Memory, int]:
        """The memory for a request's rows, and for how many tokens it has room."""
        if self._logits_memory.take_all(num_tokens):
            return self._logits_memory, num_tokens
        return self._memory, self._memory.take(num_tokens)

    def has_work(self) -> bool:
        """See ``Stepped``."""
        return bool(self._writing)

    def step(self) -> None:
        """See ``Stepped``. Every request that has ended gets its chunk."""
        for number, token_ids in self._running().step():
            if number in self._writing:
                rows = self._running().rows(number, len(token_ids))
                self._finish(self._writing.pop(number), token_ids, rows)

    def _finish(self, writing: _Writing, token_ids: list[int], rows: Tensor) -> None:
        writing.memory.give_back(writing.num_rows - len(token_ids))
        project = self._look_up if writing.memory is self._logits_memory else self._project
        kept = BoundedRows(rows, writing.memory, project)
        self._kept.setdefault(writing.prompt_id, weakref.WeakSet()).add(kept)
        writing.future.set_result(Chunk(token_ids, kept))

    def _look_up(self, logits: Tensor, ids: Tensor) -> "Future[Tensor]":
        return self._thread.submit(lambda: outcome_logprobs_of(logits, ids, self._vocab_size))

    def _project(self, states: Tensor, ids: Tensor) -> "Future[Tensor]":
        asked = _Asked(states, ids, Future())
        self._asked.put(asked)
        answered = self._thread.submit(self._answer)
        answered.add_done_callback(lambda job: asked.future.cancel() if job.cancelled() else None)
        return asked.future

    def _answer(self) -> None:
        """Answer all that was asked up to now at once: reading the head's weights takes longer than using them."""
        waiting: dict[int, list[_Asked]] = {}
        with contextlib.suppress(Empty):
            while True:
                asked = self._asked.get_nowait()
                if asked.future.set_running_or_notify_cancel():
                    waiting.setdefault(asked.ids.shape[-1], []).append(asked)
        for same_width in waiting.values():
            try:
                self._answer_together(same_width)
            except Exception as error:
                for asked in same_width:
                    asked.future.set_exception(error)

    def _answer_together(self, asked: Sequence[_Asked]) -> None:
        states, ids = torch.cat([one.states for one in asked]), torch.cat([one.ids for one in asked])
        outcomes = self._running().outcomes(states, ids).split([len(one.ids) for one in asked])
        for one, own in zip(asked, outcomes, strict=True):
            # A view would keep the others in memory.
            one.future.set_result(own.clone() if len(asked) > 1 else own)

    def fail(self, error: Exception) -> None:
        """See ``Stepped``. The engine answers nothing any more."""
        if self._lost is None:
            self._lost = StudentLostError(f"the student's engine has died: {one_line(error)}")
        writing, self._writing = self._writing, {}
        for one in writing.values():
            one.memory.give_back(one.num_rows)
            one.future.set_exception(self._lost)

    def forget(self, prompt_ids: Sequence[int]) -> None:
        """See ``ContinuousEngine``. Whoever still waits for a chunk of these prompts is cancelled."""
        forgotten = frozenset(prompt_ids)
        self._thread.submit(lambda: self._forget(forgotten))

    def _forget(self, prompt_ids: frozenset[int]) -> None:
        for prompt_id in prompt_ids:
            for kept in self._kept.pop(prompt_id, ()):
                kept.drop()
        # Last, because whoever waits for a chunk goes on as soon as it is told, and must find nothing kept.
        self._abort(lambda writing: writing.prompt_id in prompt_ids)

    def _abort(self, is_meant: Callable[[_Writing], bool]) -> None:
        meant = {number: writing for number, writing in self._writing.items() if is_meant(writing)}
        if not meant:
            return
        self._running().abort(meant)
        for number, writing in meant.items():
            del self._writing[number]
            writing.memory.give_back(writing.num_rows)
            writing.future.set_exception(asyncio.CancelledError("the prompt was forgotten"))

    def weights(self) -> Mapping[str, Tensor]:
        """See ``ContinuousEngine``. vLLM keeps them in other forms: these are the extremes ``[2]`` of each weight."""
        return self._extremes

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """See ``ContinuousEngine``."""
        self._outline.check(weights)
        self._thread.submit(lambda: self._load(weights)).result()

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        if self._writing:
            raise AdaSwitchError("weights change only while no prompt is under way")
        self._forget(frozenset(self._kept))
        try:
            self._running().load_weights(self._outline.as_saved(weights))
            self._reset_cache()
        except Exception as error:
            self.fail(error)  # half of the weights may be new
            raise self._lost or error from error
        self._extremes = extremes(weights)

    def _reset_cache(self) -> None:
        if not self._running().reset_cache():
            raise StudentLostError("vLLM would go on with keys and values that it has cached")

    def num_kept(self) -> int:
        """The number of tokens of which a row is kept, or is promised a place."""
        return self._thread.submit(lambda: self._memory.num_rows + self._logits_memory.num_rows).result()

    def close(self) -> None:
        """See ``ContinuousEngine``."""
        self._thread.submit(self._shut_down)
        self._thread.close()

    def _shut_down(self) -> None:
        llm, self._llm = self._llm, None
        self.fail(AdaSwitchError("it was closed"))
        if llm is not None:
            llm.shut_down()

    def _running(self) -> LLM:
        if self._lost is not None:
            raise self._lost
        assert self._llm is not None
        return self._llm
