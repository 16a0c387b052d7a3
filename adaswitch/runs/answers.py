"""Marks the answers of a run's rollouts with the references of its data, as far as the data is still there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaswitch.config.run import RunConfig
from adaswitch.data.datasets import encode_prompt, load_examples
from adaswitch.data.hub import check_hub_data
from adaswitch.errors import AdaSwitchError
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.kept import begun_in, with_located_data
from adaswitch.tasks.base import Example, Marks, RecordTask, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """What is known of one answer: its marks with the reference, or why there are none."""

    marks: Marks | None
    reference: str
    """The data set's own answer; empty if it is not known."""
    cause: str
    """Why there are no marks; empty if there are."""

    @property
    def is_right(self) -> bool | None:
        """Whether the main mark is full; None without marks."""
        return None if self.marks is None else next(iter(self.marks.values())) == 1.0

    @property
    def words(self) -> str:
        """The marks in words: ``right``, ``wrong``, ``rouge_l 0.31``, or ``not marked`` with the cause."""
        if self.marks is None:
            return f"not marked: {self.cause}"
        if set(self.marks.values()) <= {0.0, 1.0} and len(self.marks) == 1:
            return "right" if self.is_right else "wrong"
        return ", ".join(f"{name} {value:.2f}" for name, value in self.marks.items())


class AnswerMarker:
    """Marks rollouts of one run. If the data is gone, every answer says so."""

    def __init__(self, run: RunDirectory, config: RunConfig, tokenizer: "PreTrainedTokenizerBase") -> None:
        """``config`` is the run's own."""
        self._tokenizer = tokenizer
        self._task: Task | None = None
        self._examples: list[Example] = []
        self.problem = ""
        """Why no answer can be marked; empty if answers can be."""
        try:
            task = with_located_data(config.task, begun_in(run, config))
            self._task = task.ready()
            if isinstance(self._task, RecordTask) and self._task.train.hub is not None:
                check_hub_data(self._task.train.hub, "task.train")
            self._examples = load_examples(task, "train")
        except AdaSwitchError as error:
            self.problem = f"the run's data cannot be read ({error})"

    def answer_of(self, rollout: Rollout) -> Answer:
        """The marks of ``rollout``'s completion, by the example that its prompt was made of."""
        if self._task is None or self.problem:
            return Answer(None, "", self.problem)
        example = self._example_of(rollout)
        if example is None:
            return Answer(None, "", "the data has no such prompt any more, or the prompt was cut")
        try:
            return Answer(self._task.mark(self._text(rollout), example), example.reference, "")
        except AdaSwitchError as error:  # an UnmarkedError, or a fault in a user's own metric
            return Answer(None, example.reference, str(error))

    def _example_of(self, rollout: Rollout) -> Example | None:
        """The example whose prompt is exactly the rollout's.

        It is the one that the prompt's record number names, or a later one if records were left out; else any.
        """
        first = max(rollout.prompt.record - 1, 0)
        text = _squeezed(str(self._tokenizer.decode(list(rollout.prompt.token_ids))))
        for example in [*self._examples[first:], *self._examples[:first]]:
            # To encode every prompt of a large data set would take minutes.
            if _squeezed(example.prompt) in text and self._is_prompt(example, rollout.prompt.token_ids):
                return example
        return None

    def _is_prompt(self, example: Example, token_ids: Sequence[int]) -> bool:
        assert self._task is not None
        try:
            return encode_prompt(self._tokenizer, self._task, example) == list(token_ids)
        except AdaSwitchError:
            return False

    def _text(self, rollout: Rollout) -> str:
        """The completion as an evaluation marks it: without the token that ended it, and without special tokens."""
        token_ids = list(rollout.completion_token_ids)
        answer = token_ids[: len(token_ids) - (rollout.ending is Ending.STOP)]
        return str(self._tokenizer.decode(answer, skip_special_tokens=True))


def _squeezed(text: str) -> str:
    """``text`` without blanks, which not every tokenizer's decoding gives back."""
    return "".join(text.split())
