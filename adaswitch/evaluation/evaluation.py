"""Held-out prompts are answered and marked. Both the trainer and ``adaswitch eval`` evaluate in this way.

Whoever answers is a ``Writer``. Shapes: V tokens in the vocabulary.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from adaswitch.errors import AdaSwitchError, UnmarkedError
from adaswitch.evaluation.writer import Rules, Unwritten, Writer
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
    writer: Writer,
    prompts: EvalPrompts,
    sampling: Sampling = GREEDY,
    should_stop: Callable[[], bool] = lambda: False,
    advance: Callable[[int], None] = lambda count: None,
) -> Evaluation | None:
    """The completions that ``writer`` writes, with their marks; None if ``should_stop`` stopped it midway.

    ``advance(count)`` is called after every ``count`` more completions. Which tokens are drawn depends on the seed,
    the record and the sample alone, and not on the batch size or on the number of prompts or samples.
    """
    places = [(i, sample) for i in range(len(prompts.examples)) for sample in range(sampling.num_samples)]
    texts = [
        Unwritten(prompts.prompt_token_ids[i], _noise_id(prompts.examples[i], sample)) for i, sample in places
    ]
    completions: dict[int, Completion] = {}
    with closing(writer.write(texts, rules_of(prompts, sampling))) as writing:
        while len(completions) < len(texts):
            if should_stop():
                return None
            written = next(writing, None)
            if written is None:
                raise AdaSwitchError(f"{len(texts) - len(completions)} completions were not written")
            for place, token_ids in written:
                completions[place] = _marked(prompts, *places[place], token_ids)
            advance(len(written))
    done = [completions[place] for place in range(len(texts))]
    outcomes = [Outcome(one.example.split, one.example.number, one.marks) for one in done]
    return Evaluation(prompts.task.name, scores(outcomes, prompts.task.metrics), done)


def rules_of(prompts: EvalPrompts, sampling: Sampling = GREEDY) -> Rules:
    """How the completions of ``prompts`` are written."""
    return Rules(
        temperature=sampling.temperature,
        seed=sampling.seed,
        stop_token_ids=tuple(prompts.stop_token_ids),
        max_new_tokens=prompts.max_new_tokens,
        vocab_size=prompts.num_ids,
        batch_size=prompts.batch_size,
    )


def _noise_id(example: Example, sample: int) -> int:
    """A number of 64 bits for the record and the sample."""
    name = f"{example.split} {example.number} {sample}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


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
