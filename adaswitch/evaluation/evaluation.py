"""Held-out prompts answered by a model and marked: the trainer's evaluation and ``adaswitch eval`` alike.

Shapes: b completions that are written together, n new tokens, V tokens in the vocabulary.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from adaswitch.errors import UnmarkedError
from adaswitch.method.sampling import draw, position_uniforms
from adaswitch.tasks.base import Example, Marks, Task
from adaswitch.tasks.scores import Outcome, Score, scores


@dataclass(frozen=True)
class EvalPrompts:
    """Held-out examples with their prompts in tokens, and how they are answered and marked."""

    task: Task
    examples: Sequence[Example]
    prompt_token_ids: Sequence[Sequence[int]]
    tokenizer: PreTrainedTokenizerBase
    stop_token_ids: Sequence[int]
    max_new_tokens: int
    batch_size: int


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; temperature 0 is greedy."""

    num_samples: int = 1
    temperature: float = 0.0
    seed: int = 0


GREEDY = Sampling()


@dataclass(frozen=True)
class Completion:
    """One answer. ``marks`` is None where it could not be marked, and ``cause`` says why."""

    example: Example
    sample: int
    """Which of a prompt's completions it is, from 0."""
    prompt_token_ids: Sequence[int]
    token_ids: list[int]
    """With the token that ended it, if one did."""
    text: str
    stopped: bool
    """Whether it came to its end within the budget."""
    marks: Marks | None
    cause: str | None


@dataclass(frozen=True)
class Evaluation:
    """All completions of held-out prompts, and what they come to."""

    task: str
    scores: list[Score]
    """The first is the one to look at: the main metric over the whole."""
    completions: list[Completion]

    @property
    def main(self) -> Score:
        """The main metric over the whole."""
        return self.scores[0]

    def unmarked_lines(self, limit: int) -> list[str]:
        """The first ``limit`` completions that could not be marked, by record and cause, and how many more."""
        unmarked = [done for done in self.completions if done.cause is not None]
        lines = [
            f"unmarked: {done.example.split}, record {done.example.number}: {done.cause}"
            for done in unmarked[:limit]
        ]
        more = len(unmarked) - len(lines)
        return [*lines, f"unmarked: {more} more"] if more else lines


def evaluate(
    model: PreTrainedModel,
    prompts: EvalPrompts,
    sampling: Sampling = GREEDY,
    should_stop: Callable[[], bool] = lambda: False,
    advance: Callable[[int], None] = lambda count: None,
) -> Evaluation | None:
    """The model's completions of ``prompts``, marked; None if ``should_stop`` said so midway.

    ``advance(count)`` is told of every ``count`` more. What is drawn depends on the seed, the record and the
    sample alone: not on the batch size, nor on how many prompts or samples there are.
    """
    places = [(i, sample) for i in range(len(prompts.examples)) for sample in range(sampling.num_samples)]
    completions: list[Completion] = []
    with _as_it_is(model):
        for start in range(0, len(places), prompts.batch_size):
            if should_stop():
                return None
            batch = places[start : start + prompts.batch_size]
            written = _write(model, prompts, sampling, batch)
            completions += [
                _marked(prompts, i, sample, token_ids)
                for (i, sample), token_ids in zip(batch, written, strict=True)
            ]
            advance(len(batch))
    outcomes = [Outcome(done.example.split, done.example.number, done.marks) for done in completions]
    return Evaluation(prompts.task.name, scores(outcomes, prompts.task.metrics), completions)


@contextmanager
def _as_it_is(model: PreTrainedModel) -> Iterator[None]:
    """Without dropout, and without the repetition penalty and the like of its folder's generation settings."""
    was_training, own_settings = model.training, model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own_settings
        model.train(was_training)


@torch.inference_mode()
def _write(
    model: PreTrainedModel, prompts: EvalPrompts, sampling: Sampling, batch: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """The completions of ``batch``, up to and with the token that ends each."""
    rows = [prompts.prompt_token_ids[i] for i, _ in batch]
    width = max(map(len, rows))
    pad = prompts.stop_token_ids[0]
    input_ids = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in rows])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in rows])
    uniforms = [
        _uniforms(sampling.seed, prompts.examples[i], sample, prompts.max_new_tokens) for i, sample in batch
    ]
    drawing = DrawByPosition(
        torch.from_numpy(np.stack(uniforms)), width, sampling.temperature, len(prompts.tokenizer)
    )
    output: Tensor = model.generate(  # type: ignore[operator]  # typed as a tensor in PreTrainedModel
        input_ids=input_ids.to(model.device),
        attention_mask=mask.to(model.device),
        logits_processor=LogitsProcessorList([drawing]),
        do_sample=False,
        max_new_tokens=prompts.max_new_tokens,
        eos_token_id=list(prompts.stop_token_ids),
        pad_token_id=pad,
    )
    return [_up_to_stop(ids, prompts.stop_token_ids) for ids in output[:, width:].tolist()]


class DrawByPosition(LogitsProcessor):
    """Lets ``generate`` take the token that belongs to a position's uniform number, whatever its own rule."""

    def __init__(self, uniforms: Tensor, width: int, temperature: float, vocab_size: int) -> None:
        """``uniforms [b, n]``; prompts are padded to ``width``; rows beyond ``vocab_size`` are padding."""
        self._uniforms = uniforms
        self._width = width
        self._temperature = temperature
        self._vocab_size = vocab_size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``scores [b, V]`` with all but the chosen token impossible."""
        uniforms = self._uniforms[:, input_ids.shape[1] - self._width].to(scores.device)
        chosen = draw(scores[:, : self._vocab_size], uniforms, self._temperature)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen.unsqueeze(-1), 0.0)


def _uniforms(seed: int, example: Example, sample: int, num_tokens: int) -> np.ndarray:
    name = f"{example.split} {example.number} {sample}"
    prompt_id = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return position_uniforms(seed, prompt_id, num_tokens)


def _up_to_stop(token_ids: list[int], stop_token_ids: Sequence[int]) -> list[int]:
    for i, token in enumerate(token_ids):
        if token in stop_token_ids:
            return token_ids[: i + 1]
    return token_ids


def _marked(prompts: EvalPrompts, i: int, sample: int, token_ids: list[int]) -> Completion:
    example = prompts.examples[i]
    stopped = token_ids[-1] in prompts.stop_token_ids
    answer = token_ids[: len(token_ids) - stopped]
    text = str(prompts.tokenizer.decode(answer, skip_special_tokens=True))
    marks, cause = None, None
    try:
        marks = prompts.task.mark(text, example)
    except UnmarkedError as error:
        cause = str(error)
    return Completion(example, sample, prompts.prompt_token_ids[i], token_ids, text, stopped, marks, cause)
