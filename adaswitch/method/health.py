"""The known ways in which switching goes wrong, recognised from a run's own metrics.

The three signatures are those that the paper names (arXiv 2510.07842). The limits are ours: wide enough that a
healthy run never sees one, and each finding says the figure it rests on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from adaswitch.config import (
    AdaSwitchPolicyConfig,
    PolicyConfig,
    SharedScalePolicyConfig,
    ThresholdPolicyConfig,
)

Record = Mapping[str, float | int | None]
"""One step, by the names of ``adaswitch.method.metrics``."""

MIN_STEPS = 10
"""Fewer say nothing."""
MAX_STEPS = 50
"""So many of the newest are looked at."""
EXCESSIVE_RATE = 0.95
EARLY = 0.5
"""Of what the completion has after the first place where a switch can come: before it, in the mean, is early."""
ABSENT_RATE = 0.02
HIGH_ENTROPY_NATS = 0.5
"""A teacher that is less unsure than this of its own text is not lost, whatever the comparison says."""
SETTLING_RATIO = 0.9
"""The teacher's entropy in guidance over that in exploration: guidance should be much the calmer."""


@dataclass(frozen=True)
class Signature:
    """One way in which switching goes wrong: its name, the figures that show it, and what to try."""

    name: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.evidence}; {self.advice}"


def signatures(policy: PolicyConfig, steps: Sequence[Record]) -> list[Signature]:
    """What the newest ``steps`` show; nothing where ``not_judged`` says why."""
    if not_judged(policy, steps) is not None:
        return []
    recent = steps[max(0, len(steps) - MAX_STEPS) :]
    settings, first_place = _threshold_settings(policy)
    found = (_excessive(recent, settings, first_place), _absent(recent, settings), _degraded(recent))
    return [signature for signature in found if signature is not None]


def not_judged(policy: PolicyConfig, steps: Sequence[Record]) -> str | None:
    """Why nothing can be said of the switch; None if something can."""
    if not isinstance(policy, AdaSwitchPolicyConfig | ThresholdPolicyConfig | SharedScalePolicyConfig):
        return f"the policy {policy.kind} has no threshold"
    if len(steps) < MIN_STEPS:
        return f"{len(steps)} steps say too little, {MIN_STEPS} are needed"
    return None


def _threshold_settings(policy: PolicyConfig) -> tuple[str, int]:
    """The settings that set the threshold, as a user writes them, and the first place where a switch can come."""
    if isinstance(policy, AdaSwitchPolicyConfig):
        return "policy.factor or policy.floor", policy.window
    if isinstance(policy, SharedScalePolicyConfig):
        return "policy.factor or policy.floor", 0
    return "policy.tau", 0


def _excessive(steps: Sequence[Record], rule: str, first_place: int) -> Signature | None:
    rate, position = _mean(steps, "switch_rate"), _mean(steps, "mean_switch_position")
    length = _mean(steps, "mean_completion_tokens")
    if rate is None or position is None or length is None:
        return None
    if rate < EXCESSIVE_RATE or position - first_place > EARLY * (length - first_place):
        return None
    return Signature(
        "excessive switching",
        f"{rate:.0%} of the rollouts switch, in the mean at token {position:.0f} of {length:.0f}",
        f"the student writes little of what it learns from: raise {rule}, or warm the student up for longer",
    )


def _absent(steps: Sequence[Record], rule: str) -> Signature | None:
    rate, divergence = _mean(steps, "switch_rate"), _mean(steps, "mean_divergence")
    if rate is None or rate > ABSENT_RATE:
        return None
    figure = "" if divergence is None else f" at a mean divergence of {divergence:.3g} nats"
    return Signature(
        "no switching",
        f"{rate:.0%} of the rollouts switch{figure}",
        f"this is on-policy distillation: lower {rule}; if the divergence is near 0 the two models are too alike",
    )


def _degraded(steps: Sequence[Record]) -> Signature | None:
    explored, guided = (
        _mean(steps, f"mean_teacher_entropy_{stage}") for stage in ("exploration", "guidance")
    )
    if explored is None or guided is None:
        return None
    if guided < HIGH_ENTROPY_NATS or guided < SETTLING_RATIO * explored:
        return None
    return Signature(
        "degradation after switching",
        f"the teacher is as unsure of its own text (entropy {guided:.2f} nats a token) as of the student's "
        f"({explored:.2f})",
        "it goes on badly from what the student began: warm the student up for longer, have the switch "
        "come sooner, or lower teacher.temperature",
    )


def _mean(steps: Sequence[Record], name: str) -> float | None:
    values = [value for step in steps if (value := step.get(name)) is not None]
    return fmean(values) if values else None
