"""The student's engine on vLLM in a process of its own, for the tests that share its slow start.

vLLM changes the process that it runs in: its environment, torch's threads, its own warnings.
"""

import asyncio
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adaswitch.config.student import StudentConfig
from adaswitch.evaluation.writer import Rules, Unwritten
from adaswitch.method.roles import Chunk
from services.evaluation.vllm_writer import VLLMWriter
from services.student.engines.engine import Sampling, WriteRequest
from services.student.engines.vllm.engine import VLLMEngine
from services.student.engines.vllm.kept import Memory

Weights = Mapping[str, NDArray[np.float32]]


class Writer:
    """An engine, asked and answered in what travels between processes."""

    def __init__(
        self, settings: Mapping[str, Any], vocab_size: int, sampling: Sampling, max_tokens: int
    ) -> None:
        self._engine = VLLMEngine(StudentConfig(**settings), vocab_size, sampling, max_tokens)
        self._chunks: list[Chunk] = []

    def write(self, requests: Sequence[WriteRequest]) -> list[list[int]]:
        """The tokens of one chunk for each request, all written at once. The chunks replace those held before."""

        async def write() -> list[Chunk]:
            return await asyncio.gather(*(self._engine.write(request) for request in requests))

        self._chunks = asyncio.run(write())
        return [chunk.token_ids for chunk in self._chunks]

    def evaluated(self, texts: Sequence[Unwritten], rules: Rules) -> list[list[int]]:
        """The completions that are written for an evaluation, in the order of ``texts``."""
        writer = VLLMWriter(self._engine, rules, lambda: "somewhere")
        return [ids for _, ids in sorted(one for some in writer.write(texts, rules) for one in some)]

    def outcomes(self, ids: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """The outcomes of the chunks that are held, all asked for at once."""

        async def outcomes() -> list[torch.Tensor]:
            rows = zip(self._chunks, ids, strict=True)
            return await asyncio.gather(*(chunk.rows.outcomes(torch.from_numpy(own)) for chunk, own in rows))

        return [own.numpy() for own in asyncio.run(outcomes())]

    def make_room_for_logits(self, num_tokens: int) -> None:
        """From now on logits of so many tokens are kept. Beyond them, states are."""
        self._engine._logits_memory = Memory(num_tokens)

    def forget(self, prompt_ids: Sequence[int]) -> None:
        self._engine.forget(prompt_ids)

    def let_go(self) -> None:
        """Drop the chunks that are held."""
        self._chunks = []

    def num_kept(self) -> int:
        gc.collect()  # the trace of an error that was raised here may hold a chunk
        return self._engine.num_kept()

    def load_weights(self, weights: Weights) -> None:
        self._engine.load_weights({name: torch.from_numpy(weight) for name, weight in weights.items()})

    def extremes(self) -> dict[str, list[float]]:
        return {name: pair.tolist() for name, pair in self._engine.weights().items()}

    def close(self) -> None:
        self._engine.close()


class Writers(BaseManager):
    """A process in which writers live. ``Writer(...)`` makes one there."""

    Writer: type[Writer]


Writers.register("Writer", Writer)


@contextmanager
def writers() -> Iterator[Writers]:
    """The process, for as long as the block lasts."""
    manager = Writers(ctx=get_context("spawn"))
    manager.start()
    try:
        yield manager
    finally:
        manager.shutdown()
