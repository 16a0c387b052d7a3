"""The known ways in which switching goes wrong, recognised from a run's own metrics.

The three signatures are those that the paper names (arXiv 2510.07842). The limits are ours. They are wide enough that
a healthy run never shows a signature, and each finding names the figure on which it rests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from adaswitch.method.policies.base import Policy

Record = Mapping[str, float | int | None]
"""The metrics of one step, under the names of ``adaswitch.method.metrics``."""

MIN_STEPS = 10
"""The smallest number of steps from which the switch can be judged."""
MAX_STEPS = 50
"""The number of newest steps that are looked at."""
EXCESSIVE_RATE = 0.95
EARLY = 0.5
"""A mean switch position before this share of the positions where a switch can come counts as early."""
ABSENT_RATE = 0.02
HIGH_ENTROPY_NATS = 0.5
"""A teacher with less entropy than this on its own text is never reported, whatever the comparison says."""
SETTLING_RATIO = 0.9
"""The largest healthy ratio of the teacher's entropy in guidance to its entropy in exploration."""


@dataclass(frozen=True)
class Signature:
    """One way in which switching goes wrong: its name, the figures that show it, and what to try."""

    name: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        """The signature as one line."""
        return f"{self.name}: {self.evidence}; {self.advice}"


def signatures(policy: Policy, steps: Sequence[Record]) -> list[Signature]:
    """The signatures that the newest ``steps`` show. Empty if the switch is not judged; see ``not_judged``."""
    if not_judged(policy, steps) is not None:
        return []
    recent = steps[max(0, len(steps) - MAX_STEPS) :]
    settings = policy.threshold_settings or ""
    found = (_excessive(recent, settings, policy.first_place), _absent(recent, settings), _degraded(recent))
    return [signature for signature in found if signature is not None]


def not_judged(policy: Policy, steps: Sequence[Record]) -> str | None:
    """The reason why the switch cannot be judged; None if it can be judged."""
    if policy.threshold_settings is None:
        return f"the policy {policy.name} has no threshold"
    if len(steps) < MIN_STEPS:
        return f"{len(steps)} steps say too little, {MIN_STEPS} are needed"
    return None


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
