"""``Policy``: the base of every rollout policy, whether it stands in this folder or is a user's own.

A policy is a class of settings with one ``async def roll_out(self, stages)``, which says who writes a completion. The
other members tell the rest of the system what it must know about the policy. Most policies can leave them unchanged.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field

from adaswitch.config.base import Settings
from adaswitch.method.divergence import DivergenceName as DivergenceName
from adaswitch.method.takeover.marks import Texts
from adaswitch.registry.own_code import OwnCode

if TYPE_CHECKING:  # the stages need torch, but settings are also read by programs without torch
    from adaswitch.method.stages import Stages


def _number_or_auto(value: object) -> object:
    if value == "auto" or (type(value) is int and value >= 0):
        return value
    raise ValueError("must be a whole number from 0 on, or auto")


ChunksAhead = Annotated[Annotated[int, Field(ge=0)] | Literal["auto"], BeforeValidator(_number_or_auto)]
"""The setting ``write_ahead``: a number of chunks, or ``auto``, which is known once the engine is."""


class Policy(Settings, ABC):
    """Who writes a completion. The fields of a subclass are its settings."""

    @abstractmethod
    async def roll_out(self, stages: "Stages") -> None:
        """Write one completion to its end with the ``stages`` of a rollout: ``explore``, ``guide``, ``recite``."""

    def check(self) -> None:
        """Raises ``ConfigError`` for settings that cannot be used. Called before a run; may import a user's code."""

    def bound(self, texts: Texts) -> Self:
        """The policy for a tokenizer of these ``texts``, as a student rolls out with it.

        Raises ``ConfigError`` if the tokenizer has none of the tokens that a setting names.
        """
        return self

    @property
    def needs_texts(self) -> bool:
        """Whether the settings name tokens by their texts, so that the policy must be ``bound`` before it rolls out."""
        return False

    @property
    def name(self) -> str:
        """The policy's name in messages: its kind, or the name of a user's own class."""
        return str(getattr(self, "kind", type(self).__name__))

    @property
    def own_code(self) -> list[OwnCode]:
        """The parts of the policy that are named by an import path, and so are a user's own code."""
        return [part for part in (self, *vars(self).values()) if isinstance(part, OwnCode)]

    @property
    def needs_students(self) -> bool:
        """Whether students write the rollouts, and a teacher answers. If not, the trainer has them without both."""
        return True

    @property
    def needs_reference(self) -> bool:
        """Whether every prompt must come with the data set's own answer."""
        return False

    @property
    def chunks_ahead(self) -> ChunksAhead:
        """The policy's setting ``write_ahead``; 0 for a policy without, whose student writes no chunks."""
        ahead: ChunksAhead = getattr(self, "write_ahead", 0)
        return ahead

    @property
    def hands_back(self) -> bool:
        """Whether the student may write again after the teacher has written."""
        return False

    @property
    def accepted_candidates(self) -> int | None:
        """The number of teacher's candidates among which the student's token is looked for; None without a look-up."""
        return None

    @property
    def accepted_setting(self) -> str:
        """The setting whose value ``accepted_candidates`` is."""
        return "policy.accept_top_k"

    @property
    def writers(self) -> frozenset[Literal["student", "other"]]:
        """Who may write tokens: ``student``, and ``other``, which stands for the teacher or the data set."""
        return frozenset({"student", "other"})

    @property
    def threshold_settings(self) -> str | None:
        """The settings that raise or lower the threshold, as a user writes them; None without a threshold."""
        return None

    @property
    def trigger_group(self) -> str:
        """Where the settings of the threshold stand, for messages."""
        return "policy"

    @property
    def window_setting(self) -> str:
        """The setting whose value is ``first_place``, if that is not 0."""
        return f"{self.trigger_group}.window"

    def cannot_switch(self, max_new_tokens: int, top_k: int) -> str | None:
        """Why no switch ever comes in completions of ``max_new_tokens``, beginning with the setting; None if one may.

        ``top_k`` is the number of candidates in each of the teacher's distributions.
        """
        if self.first_place < max_new_tokens:
            return None
        return (
            f"{self.window_setting}: no switch can come before token {self.first_place}, counted from 0, and "
            f"student.max_new_tokens is {max_new_tokens}"
        )

    @property
    def threshold_follows_mean(self) -> bool:
        """Whether the threshold is a multiple of the divergences' own mean, so that it rises and falls with them."""
        return False

    @property
    def first_place(self) -> int:
        """The first place, counted from 0, where a switch can come."""
        return 0

    @property
    def scale_steps(self) -> int | None:
        """The number of optimizer steps that a prompt's divergence scale is the mean of; None without a scale."""
        return None
