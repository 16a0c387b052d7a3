"""vLLM played, for the tests of the student's engine on it."""

import threading
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from adaswitch.data.causal_lm import load_model
from services.student.engines.vllm.llm import Finished
from services.student.engines.vllm.worker import Slip
from tests.teacher_models import VOCAB_SIZE

STOP = 9


class PlayedLLM:
    """Writes each request's position, a token a step. ``gate`` holds steps up; ``broken`` is raised by the next one."""

    max_tokens = 64
    state_bytes = 2**20
    logits_bytes = 0

    def __init__(self) -> None:
        self.writing: dict[int, tuple[Slip, list[int]]] = {}
        self.ended: dict[int, tuple[Slip, int]] = {}
        self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self.broken: Exception | None = None
        self.weights: dict[str, Tensor] = {}
        self.num_resets = 0
        self.is_shut_down = False

    def add(self, token_ids: list[int], slip: Slip, stop_token_ids: Collection[int]) -> None:
        if token_ids == [66]:
            raise ValueError("no such token")
        self.writing[slip.number] = slip, []

    def step(self) -> Finished:
        self.gate.wait()
        if self.broken is not None:
            raise self.broken
        self.most_at_once = max(self.most_at_once, len(self.writing))
        for slip, token_ids in self.writing.values():
            token_ids.append(slip.num_before + len(token_ids))
        done = [
            (number, token_ids)
            for number, (slip, token_ids) in self.writing.items()
            if len(token_ids) == slip.num_tokens or token_ids[-1] == STOP
        ]
        for number, token_ids in done:
            slip, _ = self.writing.pop(number)
            self.ended[number] = slip, len(token_ids)
        return done

    def abort(self, numbers: Collection[int]) -> None:
        for number in numbers:
            del self.writing[number]

    def rows(self, number: int, num_tokens: int) -> Tensor:
        slip, count = self.ended.pop(number)
        assert count == num_tokens
        return (
            self.logits_of(number, num_tokens) if slip.keeps_logits else torch.full((count, 2), float(number))
        )

    @staticmethod
    def logits_of(number: int, num_tokens: int) -> Tensor:
        return torch.randn(num_tokens, VOCAB_SIZE, generator=torch.Generator().manual_seed(number))

    def outcomes(self, states: Tensor, ids: Tensor) -> Tensor:
        return torch.cat([ids.float(), states[:, :1]], -1)

    def agrees(self, states: Tensor, token_ids: list[int], prompt_id: int) -> bool:
        return len(states) == len(token_ids)

    def load_weights(self, weights: Sequence[tuple[str, Tensor]]) -> None:
        if self.broken is not None:
            raise self.broken
        self.weights = dict(weights)

    def reset_cache(self) -> bool:
        self.num_resets += 1
        return not self.writing

    def shut_down(self) -> None:
        self.is_shut_down = True


def weights_of(folder: Path, add: float = 0.0) -> dict[str, Tensor]:
    model = load_model(str(folder), "student.model", "float32")
    return {name: parameter.detach() + add for name, parameter in model.named_parameters()}
