"""Supervised fine-tuning on the data set's own answers: nobody writes and nobody scores."""

from typing import TYPE_CHECKING, Literal

from adaswitch.errors import ConfigError
from adaswitch.method.policies.base import Policy

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class SFT(Policy):
    """The completion is the data set's own answer, and there is no teacher: supervised fine-tuning.

    The loss is cross entropy, since there are no distributions to compare.
    """

    kind: Literal["sft"] = "sft"

    async def roll_out(self, stages: "Stages") -> None:
        """Always raises ``ConfigError``: the trainer takes the answers itself."""
        raise ConfigError("policy.kind: sft trains on the data set's own answers; it needs no students")

    @property
    def needs_students(self) -> bool:
        """See ``Policy``."""
        return False

    @property
    def needs_reference(self) -> bool:
        """See ``Policy``."""
        return True

    @property
    def writers(self) -> frozenset[Literal["student", "other"]]:
        """See ``Policy``."""
        return frozenset({"other"})
