"""``SourceWithoutStudents``: what all sources have in common whose rollouts nobody writes while the trainer trains."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from adaswitch.contract.completion_codec import Unaided
from adaswitch.errors import QueueError
from adaswitch.method.prompt import Prompt


class SourceWithoutStudents:
    """The part of a ``RolloutSource`` that has nobody to talk to: no teacher, no students and no Ray."""

    doing: ClassVar[str]
    """What is done in place of writing, for messages."""

    def offer(self, prompts: Sequence[Prompt]) -> None:
        """Do nothing, because no student rolls out prompts."""

    def take_unaided(
        self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]
    ) -> list[Unaided] | None:
        """Raises ``QueueError``, because nobody writes. The settings refuse such a run."""
        raise QueueError(f"nobody writes while {self.doing}: trainer.eval_by must be trainer")

    def depth(self) -> int:
        """Always 0, because no rollouts wait."""
        return 0

    def close(self, reason: str) -> None:
        """Do nothing, because there are no students to tell."""
