"""The teacher on transformers: for light installs and tests, and as the reference for vLLM.

Each request is one batch of its own in one worker thread, so that the same request gets the same bits,
whatever else goes on. Shapes: b sequences, T tokens of the longest, V tokens in the vocabulary.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.decoding import Decoder, Draft, Written
from adaswitch.sampling import draw, position_uniforms
from adaswitch.wire import GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from services.teacher.engine import EngineLostError, check_finite, in_daemon_thread
from services.teacher.model_folder import model_info, read_model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

T = TypeVar("T")
MAX_LOGITS = 2**26
"""Of one forward pass of scoring: 256 MiB in float32. More sequences are scored one group after the other."""


class Abandoned(Exception):
    """Raised in the worker thread once nobody waits for its answer."""


class TransformersEngine:
    """See ``TeacherEngine``."""

    def __init__(self, config: TeacherServiceConfig) -> None:
        self._config = config
        self._info: ModelInfo | None = None
        self._model: PreTrainedModel | None = None
        self._decoder: Decoder | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="engine")

    @property
    def info(self) -> ModelInfo:
        """What is served."""
        if self._info is None:
            raise EngineLostError("the engine has not started")
        return self._info

    @property
    def alive(self) -> bool:
        """True from ``start`` until ``close``."""
        return self._model is not None

    def why_lost(self) -> None:
        """It lives in this process, and ends with it."""

    async def start(self) -> None:
        """Load the model."""
        await in_daemon_thread(self._load)

    def _load(self) -> None:
        from transformers import AutoModelForCausalLM, DynamicCache
        from transformers.utils import logging

        from adaswitch.io.models import load

        logging.disable_progress_bar()
        torch.set_num_threads(self._config.num_threads)
        facts = read_model_folder(self._config)
        model = load(AutoModelForCausalLM.from_pretrained, self._config.model, "model", dtype=facts.dtype)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.eval().to(device)
        self._decoder = Decoder(self._model, DynamicCache, facts.vocab_size, device)
        self._info = model_info(self._config, facts)

    async def score(self, sequences: Sequence[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """All sequences in groups that fit ``MAX_LOGITS``."""
        return await self._in_worker(lambda abandoned: self._score(sequences, top_k, abandoned))

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """All prompts as one batch."""
        return await self._in_worker(lambda abandoned: self._generate(request, abandoned))

    async def _in_worker(self, work: Callable[[threading.Event], T]) -> T:
        abandoned = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work, abandoned)
        finally:
            abandoned.set()

    @torch.inference_mode()
    def _score(
        self, sequences: Sequence[ScoreSequence], top_k: int, abandoned: threading.Event
    ) -> list[SequenceAnswer]:
        answers: list[SequenceAnswer] = []
        for group in _groups(sequences, self.info.vocab_size):
            if abandoned.is_set():
                raise Abandoned
            rows = self._rows(group)
            answers += [_scored(s, logprobs, top_k) for s, logprobs in zip(group, rows, strict=True)]
        return answers

    def _rows(self, group: Sequence[ScoreSequence]) -> list[Tensor]:
        """The log-probabilities ``[len - start + 1, V]`` of each sequence."""
        if self._model is None:
            raise EngineLostError("the engine is closed")
        width = max(len(s.token_ids) for s in group)
        # Padding on the right needs no mask: a causal model never looks ahead.
        padded = torch.tensor([s.token_ids + [0] * (width - len(s.token_ids)) for s in group])
        first = min(s.start for s in group) - 1
        output = self._model(
            input_ids=padded.to(self._model.device), use_cache=False, logits_to_keep=width - first
        )
        logprobs = output.logits[..., : self.info.vocab_size].float().log_softmax(-1).cpu()
        return [
            row[s.start - 1 - first : len(s.token_ids) - first]
            for s, row in zip(group, logprobs, strict=True)
        ]

    def _generate(self, request: GenerateRequest, abandoned: threading.Event) -> list[SequenceAnswer]:
        if self._decoder is None:
            raise EngineLostError("the engine is closed")
        prompts = request.prompts
        longest = max(prompt.max_tokens for prompt in prompts)
        uniforms = torch.from_numpy(
            np.stack([position_uniforms(prompt.seed, 0, longest) for prompt in prompts])
        )

        def choose(logprobs: Tensor, position: int) -> Tensor:
            if abandoned.is_set():
                raise Abandoned
            return draw(
                logprobs, uniforms[:, position].to(logprobs.device), request.temperature, request.top_p
            )

        written = self._decoder.write(
            [Draft(list(prompt.token_ids)) for prompt in prompts],
            [prompt.max_tokens for prompt in prompts],
            [frozenset(prompt.stop_token_ids) for prompt in prompts],
            choose,
        )
        return [
            _generated(result, prompt.stop_token_ids, request.top_k)
            for result, prompt in zip(written, prompts, strict=True)
        ]

    async def close(self) -> None:
        """Give up the model; what is being computed is abandoned at its next step."""
        self._model = self._decoder = None
        self._worker.shutdown(wait=False, cancel_futures=True)

    def metrics_text(self) -> str:
        """There are none."""
        return ""


def _groups(sequences: Sequence[ScoreSequence], vocab_size: int) -> list[list[ScoreSequence]]:
    """``sequences`` in order; the padded logits of a group of several number at most ``MAX_LOGITS``."""
    groups: list[list[ScoreSequence]] = [[]]
    for sequence in sequences:
        grown = [*groups[-1], sequence]
        if groups[-1] and len(grown) * max(len(s.token_ids) for s in grown) * vocab_size > MAX_LOGITS:
            groups.append([sequence])
        else:
            groups[-1] = grown
    return groups


def _scored(sequence: ScoreSequence, logprobs: Tensor, top_k: int) -> SequenceAnswer:
    token_ids = torch.tensor(sequence.token_ids[sequence.start :], dtype=torch.long)
    return _answer(token_ids, logprobs[: len(token_ids)], logprobs, top_k)


def _generated(written: Written, stop_token_ids: Sequence[int], top_k: int) -> SequenceAnswer:
    token_ids = torch.tensor(written.token_ids, dtype=torch.long)
    answer = _answer(token_ids, written.logprobs, written.logprobs, top_k)
    stopped = written.token_ids[-1] in stop_token_ids
    return SequenceAnswer(
        answer.token_ids,
        answer.token_logprobs,
        answer.top_ids,
        answer.top_logprobs,
        "stop" if stopped else "length",
    )


def _answer(token_ids: Tensor, token_rows: Tensor, rows: Tensor, top_k: int) -> SequenceAnswer:
    """``token_ids [n]`` with their own rows ``[n, V]``, and the top-k of all ``rows``."""
    top_logprobs, top_ids = rows.topk(top_k, dim=-1)
    return check_finite(
        SequenceAnswer(
            token_ids=token_ids.numpy().astype(np.int32),
            token_logprobs=token_rows.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1).numpy(),
            top_ids=top_ids.numpy().astype(np.int32),
            top_logprobs=top_logprobs.numpy(),
        )
    )
