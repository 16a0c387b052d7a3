"""The teacher on transformers: for light installs and tests, and as the reference for the vLLM engine.

Each request is computed by itself in one worker thread, never in a batch with another request, so that the same
request gets the same bits whatever other requests there are. At most ``MAX_LOGITS`` logits are computed at a time:
a longer sequence or continuation is computed piece by piece, and only the top k of each piece are kept.

Shapes: b sequences, n positions, V tokens in the vocabulary, V' rows of the embedding, k candidates.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.wire import (
    FinishReason,
    GeneratePrompt,
    GenerateRequest,
    ModelInfo,
    ScoreSequence,
    SequenceAnswer,
)
from adaswitch.data.threads import teacher_threads
from adaswitch.method.decoding import Decoder, Draft
from adaswitch.method.sampling import Place, draw
from adaswitch.processes.cores import compute_with, num_cores
from services.teacher.engines.engine import EngineLostError, check_finite, in_daemon_thread
from services.teacher.engines.model_folder import model_info, read_model_folder

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

T = TypeVar("T")
MAX_LOGITS = 2**26
"""Most logits (rows times V') of one forward pass of scoring, or of one piece of a continuation. They take 256 MiB in
float32, and two tensors of this size are in memory at a time."""
MAX_DRAWN = 2**22
"""Most logits (rows times V) that tokens are drawn from in one call: drawing makes several copies of them, those for
``top_p`` in float64."""


class Abandoned(Exception):
    """Raised in the worker thread once nobody waits for its answer."""


class TransformersEngine:
    """A ``TeacherEngine`` that runs the model with transformers, in this process."""

    def __init__(self, config: TeacherServiceConfig) -> None:
        self._config = config
        self._info: ModelInfo | None = None
        self._model: PreTrainedModel | None = None
        self._decoder: Decoder | None = None
        self._row_size = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="engine")

    @property
    def info(self) -> ModelInfo:
        """The model that is served, and its limits."""
        if self._info is None:
            raise EngineLostError("the engine has not started")
        return self._info

    @property
    def alive(self) -> bool:
        """True from ``start`` until ``close``."""
        return self._model is not None

    def why_lost(self) -> None:
        """Always None: the engine is part of this process and cannot die alone."""

    async def start(self) -> None:
        """Load the model."""
        await in_daemon_thread(self._load)

    def _load(self) -> None:
        from transformers import DynamicCache
        from transformers.utils import logging

        from adaswitch.data.causal_lm import load_configured
        from adaswitch.data.model_config import read_model_config

        logging.disable_progress_bar()
        compute_with(teacher_threads(self._config, num_cores()))
        facts = read_model_folder(self._config)
        folder = read_model_config(self._config.model, "model")
        for note in [*facts.notes, *folder.notes]:
            print(note, flush=True)
        model = load_configured(folder, "model", facts.dtype)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.to(device)  # type: ignore[arg-type]
        self._decoder = Decoder(self._model, DynamicCache, facts.vocab_size, device)
        self._row_size = facts.num_embedding_rows
        self._info = model_info(self._config, facts)

    async def score(self, sequences: Sequence[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        """Score all sequences, in groups whose logits fit ``MAX_LOGITS``."""
        return await self._in_worker(lambda abandoned: self._score(sequences, top_k, abandoned))

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        """Continue all prompts, as one batch."""
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
        for group in _groups(sequences, self._row_size):
            slices = zip(*self._slices(group, top_k, abandoned), strict=True)
            answers += [_joined(parts, None) for parts in slices]
        return answers

    def _slices(
        self, group: Sequence[ScoreSequence], top_k: int, abandoned: threading.Event
    ) -> Iterator[list[SequenceAnswer]]:
        """Yields the first part of every sequence's answer, then the next part of every answer, and so on.

        If the group is too long for one forward pass, each slice continues from the keys and values of the slices
        before it. So every token is fed once, and the logits always come from the model's own forward pass.
        """
        from transformers import DynamicCache

        padded = _right_padded(group)
        width = padded.shape[1]
        begin = min(sequence.start for sequence in group) - 1
        num_columns = max(1, MAX_LOGITS // (len(group) * self._row_size))
        cache = DynamicCache() if width - begin > num_columns else None
        num_fed = 0
        for column in range(begin, width, num_columns):
            if abandoned.is_set():
                raise Abandoned
            end = min(column + num_columns, width)
            # The log-probabilities get no variable, which would keep them in memory while the next slice is computed.
            yield [
                _scored_part(sequence, column, rows, top_k)
                for sequence, rows in zip(
                    group, self._forward(padded[:, num_fed:end], end - column, cache), strict=True
                )
            ]
            num_fed = end

    def _forward(self, token_ids: Tensor, num_kept: int, cache: "DynamicCache | None") -> Tensor:
        """The log-probabilities ``[b, num_kept, V]`` after each of the last ``num_kept`` of ``token_ids [b, n]``."""
        if self._model is None:
            raise EngineLostError("the engine is closed")
        output = self._model(
            input_ids=token_ids.to(self._model.device),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=num_kept,
        )
        logits: Tensor = output.logits[:, -num_kept:, : self.info.vocab_size]
        return logits.float().log_softmax(-1).cpu()

    def _generate(self, request: GenerateRequest, abandoned: threading.Event) -> list[SequenceAnswer]:
        writing = [_Writing(prompt) for prompt in request.prompts]
        while unfinished := [one for one in writing if one.finish_reason is None]:
            self._write_on(unfinished, request, abandoned)
        return [_joined(one.parts, one.finish_reason) for one in writing]

    def _write_on(
        self, unfinished: Sequence["_Writing"], request: GenerateRequest, abandoned: threading.Event
    ) -> None:
        """Continue each of ``unfinished`` by as many tokens as ``MAX_LOGITS`` allows whole rows for."""
        if self._decoder is None:
            raise EngineLostError("the engine is closed")
        num_rows = max(1, MAX_LOGITS // (len(unfinished) * self._row_size))
        written = self._decoder.write(
            [one.draft for one in unfinished],
            [min(num_rows, one.num_left) for one in unfinished],
            [one.stop_token_ids for one in unfinished],
            _chooser(unfinished, request, abandoned),
        )
        for one, new in zip(unfinished, written, strict=True):
            one.parts.append(_part(new.token_ids, new.logprobs, request.top_k))

    async def close(self) -> None:
        """Let go of the model. A request that is being computed stops at its next step."""
        self._model = self._decoder = None
        self._worker.shutdown(wait=False, cancel_futures=True)

    def metrics_text(self) -> str:
        """Always empty: this engine has no metrics of its own."""
        return ""


class _Writing:
    """One prompt's continuation so far, in ``parts``."""

    def __init__(self, prompt: GeneratePrompt) -> None:
        self.draft = Draft(list(prompt.token_ids))
        self.stop_token_ids = frozenset(prompt.stop_token_ids)
        self.parts: list[SequenceAnswer] = []
        self._prompt = prompt

    @property
    def num_left(self) -> int:
        """How many tokens may still be written."""
        return self._prompt.max_tokens - self._num_written

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the continuation has ended; None if it goes on."""
        if self._num_written and self.draft.token_ids[-1] in self.stop_token_ids:
            return "stop"
        return None if self.num_left else "length"

    def place(self, j: int) -> Place:
        """What the noise of the j-th next token belongs to."""
        return Place(self._prompt.seed, 0, self._num_written + j)

    @property
    def _num_written(self) -> int:
        return len(self.draft.token_ids) - len(self._prompt.token_ids)


def _chooser(
    writing: Sequence[_Writing], request: GenerateRequest, abandoned: threading.Event
) -> Callable[[Tensor, int], Tensor]:
    """The function that draws the next tokens of ``writing``, in the form that ``Decoder.write`` expects."""

    def choose(logits: Tensor, j: int) -> Tensor:
        if abandoned.is_set():
            raise Abandoned
        num_rows = max(1, MAX_DRAWN // logits.shape[-1])
        places = [one.place(j) for one in writing]
        return torch.cat(
            [
                draw(rows, places[i * num_rows :][: len(rows)], request.temperature, request.top_p)
                for i, rows in enumerate(logits.split(num_rows))
            ]
        )

    return choose


def _groups(sequences: Sequence[ScoreSequence], row_size: int) -> list[list[ScoreSequence]]:
    """``sequences`` in order, as groups. A group of several has at most ``MAX_LOGITS`` logits, padding included."""
    groups: list[list[ScoreSequence]] = [[]]
    for sequence in sequences:
        grown = [*groups[-1], sequence]
        if groups[-1] and len(grown) * max(len(s.token_ids) for s in grown) * row_size > MAX_LOGITS:
            groups.append([sequence])
        else:
            groups[-1] = grown
    return groups


def _right_padded(group: Sequence[ScoreSequence]) -> Tensor:
    """The tokens ``[b, n]``. Padding on the right needs no mask: a causal model never looks ahead."""
    width = max(len(s.token_ids) for s in group)
    return torch.tensor([s.token_ids + [0] * (width - len(s.token_ids)) for s in group])


def _scored_part(sequence: ScoreSequence, column: int, rows: Tensor, top_k: int) -> SequenceAnswer:
    """The part of the answer to ``sequence`` that is in ``rows [n, V]``, which follow the tokens from ``column`` on."""
    first = max(sequence.start - 1, column)
    end = min(len(sequence.token_ids), column + len(rows))
    return _part(sequence.token_ids[first + 1 : end + 1], rows[first - column : end - column], top_k)


def _part(token_ids: Sequence[int], rows: Tensor, top_k: int) -> SequenceAnswer:
    """The log-probability of each of ``token_ids`` in its row of ``rows [n, V]``, and the top k of all rows.

    There may be more rows than tokens. Raises ``NonFiniteError`` for a NaN or an infinity.
    """
    wanted = torch.tensor(token_ids, dtype=torch.long)
    top_logprobs, top_ids = rows.topk(top_k, dim=-1)
    return check_finite(
        SequenceAnswer(
            token_ids=wanted.numpy().astype(np.int32),
            token_logprobs=rows[: len(wanted)].gather(-1, wanted.unsqueeze(-1)).squeeze(-1).numpy(),
            top_ids=top_ids.numpy().astype(np.int32),
            top_logprobs=top_logprobs.numpy(),
        )
    )


def _joined(parts: Sequence[SequenceAnswer], finish_reason: FinishReason | None) -> SequenceAnswer:
    """The ``parts`` of one answer, joined in order."""
    return SequenceAnswer(
        token_ids=np.concatenate([part.token_ids for part in parts]),
        token_logprobs=np.concatenate([part.token_logprobs for part in parts]),
        top_ids=np.concatenate([part.top_ids for part in parts]),
        top_logprobs=np.concatenate([part.top_logprobs for part in parts]),
        finish_reason=finish_reason,
    )
