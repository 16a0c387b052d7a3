"""``Hold``: the base of the rules that say how long the teacher keeps the pen."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from adaswitch.config.base import Settings
from adaswitch.method.takeover.marks import Texts

if TYPE_CHECKING:  # the stages need torch, but settings are also read by programs without torch
    from adaswitch.method.stages import Stages


class Hold(Settings, ABC):
    """How long the teacher keeps the pen. The fields of a subclass are its settings, under ``policy.hold``."""

    hands_back: ClassVar[bool] = True
    """Whether the student may go on after the teacher."""
    needs_texts: ClassVar[bool] = False
    """Whether the hold names tokens by their texts, and so must be ``bound``."""

    @abstractmethod
    async def guide(self, stages: "Stages") -> None:
        """The teacher writes one leg. It ends early where the completion does, or the teacher's budget."""

    def bound(self, texts: Texts, where: str) -> Self:
        """The hold for a tokenizer of these ``texts``. ``where`` is the group of its settings, for messages.

        Raises ``ConfigError`` if the tokenizer has none of the tokens that the hold names.
        """
        return self
