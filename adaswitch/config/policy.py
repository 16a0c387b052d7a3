"""Settings of the rollout policies: who writes a completion. One class a ``kind``."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from adaswitch.config.base import Settings

DivergenceName = Literal["forward_kl", "reverse_kl", "jsd"]


class AdaSwitchPolicyConfig(Settings):
    """The student writes until the divergence passes ``factor`` times its recent mean, then the teacher."""

    kind: Literal["adaswitch"] = "adaswitch"
    window: int = Field(default=10, ge=1)
    """L: over how many steps the mean is taken."""
    factor: float = Field(default=3.0, gt=0)
    """K: the threshold is so many times the mean."""
    floor: float = Field(default=0.0, ge=0)
    """In nats: the threshold is never below it. 0 is the paper's rule."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""
    chunk_size: int = Field(default=16, ge=1)
    """Tokens that the student writes between two looks at the teacher. Changes the cost, never the result."""


class ThresholdPolicyConfig(Settings):
    """As AdaSwitch with a fixed threshold: the paper's ablation (arXiv 2510.07842)."""

    kind: Literal["threshold"] = "threshold"
    tau: float = Field(ge=0)
    """In nats: a larger divergence gives the pen to the teacher. The paper tries 0.5, 1.0 and 1.5."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""
    chunk_size: int = Field(default=16, ge=1)
    """Tokens that the student writes between two looks at the teacher. Changes the cost, never the result."""


class SharedScalePolicyConfig(Settings):
    """Ours, apart from the paper: as AdaSwitch, with the mean over all rollouts of the last steps as the scale."""

    kind: Literal["shared_scale"] = "shared_scale"
    factor: float = Field(default=10.0, gt=0)
    """The threshold is so many times the scale."""
    window_steps: int = Field(default=8, ge=1)
    """Over how many optimizer steps the scale is taken; until there is one on record nothing switches."""
    floor: float = Field(default=0.0, ge=0)
    """In nats: the threshold is never below it."""
    metric: DivergenceName = "forward_kl"
    """The divergence between the teacher's and the student's next-token distributions."""
    chunk_size: int = Field(default=16, ge=1)
    """Tokens that the student writes between two looks at the teacher. Changes the cost, never the result."""


class OnPolicyConfig(Settings):
    """The student writes all of it."""

    kind: Literal["on_policy"] = "on_policy"


class OffPolicyConfig(Settings):
    """The teacher writes all of it."""

    kind: Literal["off_policy"] = "off_policy"


class DatasetPolicyConfig(Settings):
    """The completion is the data set's own answer, which the teacher scores."""

    kind: Literal["dataset"] = "dataset"


class MixedPolicyConfig(Settings):
    """GKD (arXiv 2306.13649): each prompt is the student's or the other's, by a coin."""

    kind: Literal["mixed"] = "mixed"
    student_fraction: float = Field(default=0.5, ge=0, le=1)
    """Lambda: the probability that the student writes the completion."""
    other: Literal["teacher", "dataset"] = "dataset"
    """Who does otherwise."""


class SKDPolicyConfig(Settings):
    """Speculative KD (arXiv 2410.11325): the teacher replaces each token that it finds improbable."""

    kind: Literal["skd"] = "skd"
    accept_top_k: int = Field(default=25, ge=1)
    """A token of the student's is kept if it is one of the teacher's so many most likely."""
    chunk_size: int = Field(default=16, ge=1)
    """Tokens that the student proposes between two looks at the teacher. Changes the cost, never the result."""


class RelayPolicyConfig(Settings):
    """Ours, apart from the papers: the pen goes to the teacher and comes back after ``guide_tokens`` tokens."""

    kind: Literal["relay"] = "relay"
    guide_tokens: int = Field(default=4, ge=1)
    """After so many tokens of the teacher's the student goes on."""
    judge: Literal["divergence", "top_k", "probability"] = "divergence"
    """By what the pen goes to the teacher; each has one setting of its own, which it needs."""
    tau: float | None = Field(default=None, ge=0)
    """Of judge ``divergence``, in nats: at a larger forward KL."""
    accept_top_k: int | None = Field(default=None, ge=1)
    """Of judge ``top_k``: at a token that is not one of the teacher's so many most likely."""
    min_probability: float | None = Field(default=None, gt=0, le=1)
    """Of judge ``probability``: at a token that is less probable to the teacher; one outside of its
    ``teacher.top_k`` candidates counts as such, which is exact above 1 / (teacher.top_k + 1)."""
    chunk_size: int = Field(default=16, ge=1)
    """Tokens that the student proposes between two looks at the teacher. Changes the cost, never the result."""

    @model_validator(mode="after")
    def _the_judges_own_setting(self) -> Self:
        settings = {
            "tau": (self.tau, "divergence"),
            "accept_top_k": (self.accept_top_k, "top_k"),
            "min_probability": (self.min_probability, "probability"),
        }
        for name, (value, judge) in settings.items():
            if judge == self.judge and value is None:
                raise ValueError(f"judge {judge} needs {name}: set it")
            if judge != self.judge and value is not None:
                raise ValueError(f"{name} belongs to judge {judge}, not to {self.judge}: leave it out")
        return self


class RandomSwitchPolicyConfig(Settings):
    """A control: one switch at a place that is drawn without a look at either model."""

    kind: Literal["random_switch"] = "random_switch"
    positions: list[Annotated[float, Field(ge=0, le=1)]] | None = None
    """The probability of a switch at token 0, 1, ..; what is missing to 1 is that of no switch."""
    from_run: str | None = None
    """Instead: a run directory, whose rollouts' switch positions are taken. A run notes them as ``positions``."""
    from_steps: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=2, max_length=2)
    """The first and the last step of ``from_run`` that are looked at; by default all."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.positions is None) == (self.from_run is None):
            raise ValueError("set exactly one of positions (probabilities) and from_run (a run directory)")
        if self.positions is not None and math.fsum(self.positions) > 1 + 1e-9:
            raise ValueError(f"positions add up to {math.fsum(self.positions):g}, which must not exceed 1")
        if self.from_steps is not None and self.from_run is None:
            raise ValueError("from_steps belongs to from_run")
        if self.from_steps is not None and self.from_steps[0] > self.from_steps[1]:
            raise ValueError("from_steps must be the first and the last step, in this order")
        return self


class ReplayPolicyConfig(Settings):
    """Nobody writes: the rollouts of an earlier run are trained on again, without teacher and students."""

    kind: Literal["replay"] = "replay"
    run: str
    """The earlier run's directory, of which ``rollouts/`` is read: step for step."""


PolicyConfig = Annotated[
    AdaSwitchPolicyConfig
    | ThresholdPolicyConfig
    | SharedScalePolicyConfig
    | OnPolicyConfig
    | OffPolicyConfig
    | DatasetPolicyConfig
    | MixedPolicyConfig
    | SKDPolicyConfig
    | RelayPolicyConfig
    | RandomSwitchPolicyConfig
    | ReplayPolicyConfig,
    Field(discriminator="kind"),
]


def needs_reference(policy: PolicyConfig) -> bool:
    """Whether a prompt must come with the data set's own answer."""
    return isinstance(policy, DatasetPolicyConfig) or (
        isinstance(policy, MixedPolicyConfig) and policy.other == "dataset"
    )


def accepted_candidates(policy: PolicyConfig) -> int | None:
    """Among how many of the teacher's candidates ``policy`` looks for a token; None if it does not."""
    return policy.accept_top_k if isinstance(policy, SKDPolicyConfig | RelayPolicyConfig) else None


def hands_back(policy: PolicyConfig) -> bool:
    """Whether the student goes on after the teacher has written."""
    return isinstance(policy, SKDPolicyConfig | RelayPolicyConfig)
