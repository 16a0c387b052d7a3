"""Training on recorded rollouts again: nobody writes, so there are neither students nor a teacher in the run."""

from typing import TYPE_CHECKING, Literal

from adaswitch.errors import ConfigError
from adaswitch.method.policies.base import Policy

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class Replay(Policy):
    """Nobody writes: the trainer trains again on the rollouts of an earlier run, without teacher and students."""

    kind: Literal["replay"] = "replay"
    run: str
    """The directory of the earlier run, whose ``rollouts/`` are trained on again step for step."""

    @property
    def needs_students(self) -> bool:
        """See ``Policy``."""
        return False

    async def roll_out(self, stages: "Stages") -> None:
        """Always raises ``ConfigError``: there is nothing to write."""
        raise ConfigError("policy.kind: replay reads rollouts and writes none; it needs no students")
