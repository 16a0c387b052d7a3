"""Ours, not from a paper: the teacher takes over where a judge says so, and hands back after a few tokens."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from adaswitch.method.own_rule import OwnRule
from adaswitch.method.policies.base import ChunksAhead, Policy
from adaswitch.method.switching import AmongTopK, FixedThreshold, ProbableEnough, SwitchRule, TokenRule

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class Relay(Policy):
    """Ours, not from a paper: the teacher takes over, and hands back to the student after ``guide_tokens`` tokens."""

    kind: Literal["relay"] = "relay"
    guide_tokens: int = Field(default=4, ge=1)
    """The number of tokens that the teacher writes before the student goes on."""
    judge: Literal["divergence", "top_k", "probability", "own"] = "divergence"
    """The judge that decides when the teacher takes over. Each judge needs one setting of its own: ``divergence`` needs
    ``tau``, ``top_k`` needs ``accept_top_k``, ``probability`` needs ``min_probability``, and ``own`` needs ``rule``."""
    tau: float | None = Field(default=None, ge=0)
    """The threshold of judge ``divergence``, in nats: the teacher takes over where the forward KL is larger."""
    accept_top_k: int | None = Field(default=None, ge=1)
    """The setting of judge ``top_k``: the teacher takes over at a token that is not among this number of tokens that
    are most likely to the teacher."""
    min_probability: float | None = Field(default=None, gt=0, le=1)
    """The smallest probability of judge ``probability``: the teacher takes over at a token that has a smaller
    probability under the teacher. A token that is not among the ``teacher.top_k`` candidates always counts as less
    probable, which is exact for values above 1 / (teacher.top_k + 1)."""
    rule: OwnRule | None = None
    """The rule of judge ``own``: your own switch rule or token rule."""
    chunk_size: int = Field(default=16, ge=1)
    """The number of tokens that the student proposes before the teacher scores them. It changes the cost, but never the
    result."""
    write_ahead: ChunksAhead = "auto"
    """The number of chunks that the student writes ahead while the teacher scores one. It changes the cost, but never
    the result: after a switch they are thrown away, and count as wasted. ``auto`` is 0 in lockstep, else 1."""

    async def roll_out(self, stages: "Stages") -> None:
        """The teacher takes over where the judge says so, and hands back after ``guide_tokens`` tokens."""
        await stages.take_turns(self.switch_rule(), self.chunk_size, self.guide_tokens)

    def check(self) -> None:
        """See ``Policy``."""
        self.switch_rule()

    def switch_rule(self) -> SwitchRule | TokenRule:
        """The rule that the judge's own setting describes."""
        if self.rule is not None:
            return self.rule.load()
        if self.tau is not None:
            return FixedThreshold(self.tau)
        if self.accept_top_k is not None:
            return AmongTopK(self.accept_top_k)
        assert self.min_probability is not None  # the validator below guarantees it
        return ProbableEnough(self.min_probability)

    @model_validator(mode="after")
    def _the_judges_own_setting(self) -> Self:
        settings = {
            "tau": (self.tau, "divergence"),
            "accept_top_k": (self.accept_top_k, "top_k"),
            "min_probability": (self.min_probability, "probability"),
            "rule": (self.rule, "own"),
        }
        for name, (value, judge) in settings.items():
            if judge == self.judge and value is None:
                raise ValueError(f"judge {judge} needs {name}: set it")
            if judge != self.judge and value is not None:
                raise ValueError(f"{name} belongs to judge {judge}, not to {self.judge}: leave it out")
        return self

    @property
    def hands_back(self) -> bool:
        """See ``Policy``."""
        return True

    @property
    def accepted_candidates(self) -> int | None:
        """See ``Policy``."""
        return self.accept_top_k
