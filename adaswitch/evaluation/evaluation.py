"""A model answers held-out prompts and is marked. Both the trainer and ``adaswitch eval`` evaluate in this way.

Shapes: b completions that are written together, n new tokens, V tokens in the vocabulary.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from adaswitch.errors import NonFiniteError, UnmarkedError
from adaswitch.method.finite import non_finite_weight
from adaswitch.method.sampling import Place, draw
from adaswitch.tasks.base import Example, Marks, Task
from adaswitch.tasks.scores import Outcome, Score, scores


@dataclass(frozen=True)
class EvalPrompts:
    """Held-out examples with their prompts in tokens, and the rules by which they are answered and marked."""

    task: Task
    examples: Sequence[Example]
    prompt_token_ids: Sequence[Sequence[int]]
    tokenizer: PreTrainedTokenizerBase
    stop_token_ids: Sequence[int]
    max_new_tokens: int
    batch_size: int
    notes: Sequence[str] = ()
    """Lines for people about the prompts, such as how many were left out."""
    on_models: Sequence[str] = ()
    """Lines for people on what ends a completion, and on what was set right in the model folders."""
    vocab_size: int | None = None
    """V: ids from V on can never be drawn. By default all of the tokenizer's ids are below V."""
    end_token_id: int | None = None
    """The token that ends a reference. By default it is the tokenizer's end of sequence."""

    @property
    def num_ids(self) -> int:
        """V."""
        return self.vocab_size or max(self.tokenizer.get_vocab().values()) + 1


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. Temperature 0 decodes greedily."""

    num_samples: int = 1
    temperature: float = 0.0
    seed: int = 0


GREEDY = Sampling()


@dataclass(frozen=True)
class Completion:
    """One completion. If it could not be marked, ``marks`` is None and ``cause`` says why."""

    example: Example
    sample: int
    """The number of the completion among those of its prompt, counted from 0."""
    prompt_token_ids: Sequence[int]
    token_ids: list[int]
    """The tokens of the completion, including the token that ended it, if there was one."""
    text: str
    stopped: bool
    """Whether the completion ended by itself within the largest number of tokens."""
    marks: Marks | None
    cause: str | None
    compared: str | None = None
    """What was compared with what, in words, if the completion was marked wrong and the task can say so."""


@dataclass(frozen=True)
class Evaluation:
    """All completions of held-out prompts, and their scores."""

    task: str
    scores: list[Score]
    """All scores. The first score is the main metric over all held-out prompts."""
    completions: list[Completion]

    @property
    def main(self) -> Score:
        """The score of the main metric over all held-out prompts."""
        return self.scores[0]

    @property
    def hints(self) -> list[str]:
        """If nothing at all was right: what was compared with what, for the first record whose task can say so."""
        if self.main.value != 0.0:
            return []
        marked = [done for done in self.completions if done.compared is not None]
        words = self.main.metric.replace("_", " ")
        return [f"{words} is 0.0%: of {done.example.title}, {done.compared}" for done in marked[:1]]

    def unmarked_lines(self, limit: int) -> list[str]:
        """A line with record and cause for the first ``limit`` unmarked completions each, and a count of the rest."""
        unmarked = [done for done in self.completions if done.cause is not None]
        lines = [f"unmarked: {done.example.title}: {done.cause}" for done in unmarked[:limit]]
        more = len(unmarked) - len(lines)
        return [*lines, f"unmarked: {more} more"] if more else lines


def evaluate(
    model: PreTrainedModel,
    prompts: EvalPrompts,
    sampling: Sampling = GREEDY,
    should_stop: Callable[[], bool] = lambda: False,
    advance: Callable[[int], None] = lambda count: None,
) -> Evaluation | None:
    """The model's completions of ``prompts`` with their marks; None if ``should_stop`` stopped the evaluation midway.

    ``advance(count)`` is called after every ``count`` more completions. Which tokens are drawn depends on the seed,
    the record and the sample alone, and not on the batch size or on the number of prompts or samples.
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
    """Switch off dropout, and the generation settings of the model's folder, such as a repetition penalty."""
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
    """The completions of ``batch``, each up to and including the token that ends it."""
    rows = [prompts.prompt_token_ids[i] for i, _ in batch]
    width = max(map(len, rows))
    pad = prompts.stop_token_ids[0]
    input_ids = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in rows])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in rows])
    starts = [Place(sampling.seed, _prompt_id(prompts.examples[i], sample), 0) for i, sample in batch]
    drawing = DrawByPosition(starts, width, sampling.temperature, prompts.num_ids)
    try:
        output: Tensor = model.generate(  # type: ignore[operator]  # typed as a tensor in PreTrainedModel
            input_ids=input_ids.to(model.device),
            attention_mask=mask.to(model.device),
            logits_processor=LogitsProcessorList([drawing]),
            do_sample=False,
            max_new_tokens=prompts.max_new_tokens,
            eos_token_id=list(prompts.stop_token_ids),
            pad_token_id=pad,
        )
    except NonFiniteError as error:
        found = non_finite_weight(dict(model.named_parameters()))
        raise NonFiniteError(f"{error}: {found or 'its weights are finite, but too large'}") from None
    return [_up_to_stop(ids, prompts.stop_token_ids) for ids in output[:, width:].tolist()]


class DrawByPosition(LogitsProcessor):
    """Makes ``generate`` take the token that a position's noise draws, whatever its own sampling rule is."""

    def __init__(self, starts: Sequence[Place], width: int, temperature: float, vocab_size: int) -> None:
        """``starts``: the places of the b first tokens. Prompts are padded to ``width``.

        Tokens beyond ``vocab_size`` are padding.
        """
        self._starts = starts
        self._width = width
        self._temperature = temperature
        self._vocab_size = vocab_size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``scores [b, V]`` in which all tokens but the chosen token are impossible.

        Raises ``NonFiniteError`` for logits from which no token can be chosen, such as NaN.
        """
        position = input_ids.shape[1] - self._width
        places = [start._replace(position=position) for start in self._starts]
        if not bool(scores[:, : self._vocab_size].amax(-1).isfinite().all()):
            raise NonFiniteError("the model's logits are not finite")
        chosen = draw(scores[:, : self._vocab_size], places, self._temperature)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen.unsqueeze(-1), 0.0)


def _prompt_id(example: Example, sample: int) -> int:
    """A number of 64 bits for the record and the sample."""
    name = f"{example.split} {example.number} {sample}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


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
    marks, cause, compared = None, None, None
    try:
        marks = prompts.task.mark(text, example)
        compared = None if any(marks.values()) else prompts.task.compared(text, example)
    except UnmarkedError as error:
        cause = str(error)
    return Completion(
        example, sample, prompts.prompt_token_ids[i], token_ids, text, stopped, marks, cause, compared
    )
