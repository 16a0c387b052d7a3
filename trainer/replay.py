"""``ReplaySource``: the recorded rollouts of a run, to train on again. It needs no teacher, no students and no Ray."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from adaswitch.errors import DataError
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Rollout
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.recorded import shards_by_step
from adaswitch.runs.shards import read_shard
from trainer.without_students import SourceWithoutStudents


class ReplaySource(SourceWithoutStudents):
    """A ``RolloutSource`` that reads the rollouts of a step when they are taken.

    The rollouts come as they were recorded, with their own prompts, versions and costs. A step may have more or fewer
    rollouts than ``trainer.prompts_per_step``.
    """

    doing = "rollouts are replayed"

    def __init__(self, path: str, vocab_size: int, max_tokens: int, same_tokenizer: bool = False) -> None:
        """``path`` is the recorded run; ``vocab_size`` (V) and ``max_tokens`` are the limits of the student.

        If the recorded run is known to have the ``same_tokenizer``, its V may be smaller: its teacher had fewer rows.
        ``adaswitch.runs.recorded.check_replay`` checks that each step is there. Raises ``DataError`` if the first
        step's rollouts cannot be read or do not fit.
        """
        self._shards = shards_by_step(RunDirectory.open(path))
        self._vocab_size = vocab_size
        self._max_tokens = max_tokens
        self._same_tokenizer = same_tokenizer
        self._read(0)

    def publish(self, version: int, weights: Mapping[str, Tensor]) -> None:
        """Do nothing, because no student needs weights."""

    def take(self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]) -> list[Rollout] | None:
        """All rollouts recorded for the step of ``prompts``. Raises ``DataError`` for a damaged shard."""
        return None if should_stop() else self._read(prompts[0].step)

    @property
    def version(self) -> int:
        """Always 0, because no weights are published."""
        return 0

    def _read(self, step: int) -> list[Rollout]:
        shard = self._shards[step]
        rollouts = read_shard(shard)
        for rollout in rollouts:
            num_tokens = len(rollout.prompt.token_ids) + rollout.num_tokens
            recorded = rollout.teacher.vocab_size
            if recorded != self._vocab_size and not (self._same_tokenizer and recorded < self._vocab_size):
                raise DataError(
                    f"rollouts over {recorded} tokens cannot train a student of "
                    f"{self._vocab_size}: student.model must have the recorded run's tokenizer",
                    source=str(shard),
                )
            if num_tokens > self._max_tokens:
                raise DataError(
                    f"prompt {rollout.prompt.id} with its completion has {num_tokens} tokens, more than the "
                    f"{self._max_tokens} that the student takes",
                    source=str(shard),
                )
        return rollouts
