"""Supervised distillation on the data set's answers (arXiv 1503.02531, token by token)."""

from typing import TYPE_CHECKING, Literal

from adaswitch.method.policies.base import Policy

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class Dataset(Policy):
    """The completion is the data set's own answer, which the teacher scores."""

    kind: Literal["dataset"] = "dataset"

    async def roll_out(self, stages: "Stages") -> None:
        """Take the data set's own answer. Raises ``DataError`` for a prompt without an answer."""
        await stages.recite()

    @property
    def needs_reference(self) -> bool:
        """See ``Policy``."""
        return True

    @property
    def writers(self) -> frozenset[Literal["student", "other"]]:
        """See ``Policy``."""
        return frozenset({"other"})
