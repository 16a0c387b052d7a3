"""The known ways in which switching goes wrong, recognised from a run's own metrics.

Excessive switching, no switching and degradation are the signatures that the paper names (arXiv 2510.07842). The
limits are ours, and wide. A rate alone is no fault: a relative rule fires almost always, and a switch at a place drawn
at random often does as well. So much switching is a fault only where it costs, and each finding names its figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from adaswitch.method.policies.base import Policy

Record = Mapping[str, float | int | None]
"""The metrics of one step, under the names of ``adaswitch.method.metrics``."""

HARDLY = 0.02
"""A token to which the teacher gives less than this probability is one that it hardly ever writes: the damage."""
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
BAD_TEXT = 0.25
"""From this share of late switches on the text before the switch is bad, if chance would not do worse."""
NO_BETTER = 0.9
"""From this ratio to the share that chance would give on, the rule spares the text no damage."""
MOSTLY_LATE = 0.5
"""From this share of late switches on they are named, however many switches there are."""
FEW_SWITCHES = 0.1
"""Below this rate the share of late switches is that of too few."""
MOSTLY_TOO_SHORT = 0.5
"""Below this share of rollouts that are long enough for a switch, the window is too long."""
OUT_OF_REACH = 0.5
"""A threshold is out of reach if no divergence comes to this share of it."""


@dataclass(frozen=True)
class Signature:
    """What the switching of a run shows: its name, the figures that show it, and what to try."""

    name: str
    evidence: str
    advice: str
    is_fault: bool = True
    """Whether something is to be put right. If not, a figure is named as what it is."""

    def __str__(self) -> str:
        """The signature as one line."""
        return f"{self.name}: {self.evidence}; {self.advice}"


@dataclass(frozen=True)
class Gain:
    """The main mark before and after, from 0 to 1, on held-out prompts."""

    metric: str
    """The metric's name in words."""
    before: float
    after: float
    at_most_by_chance: float
    """The upper end of the 95 % interval of ``before``."""

    @property
    def rose(self) -> bool:
        """Whether the mark rose by more than chance explains."""
        return self.after > self.at_most_by_chance

    def __str__(self) -> str:
        """The mark before and after, in words."""
        if self.rose:
            return f"{self.metric} rose from {self.before:.1%} to {self.after:.1%}"
        return f"{self.metric} has not risen beyond chance ({self.before:.1%} before, {self.after:.1%} now)"


def signatures(policy: Policy, steps: Sequence[Record], gain: Gain | None = None) -> list[Signature]:
    """What the newest ``steps`` show. Empty if the switch is not judged; see ``not_judged``.

    ``gain`` is that of the marks since the run began; None if they do not say yet.
    """
    if not_judged(policy, steps) is not None:
        return []
    recent = steps[max(0, len(steps) - MAX_STEPS) :]
    settings = policy.threshold_settings or ""
    found = (
        _almost_always(recent, settings, policy.first_place, gain),
        _late(recent, settings),
        _too_short(recent, policy) or _absent(recent, settings),
        _degraded(recent),
    )
    return [signature for signature in found if signature is not None]


def not_judged(policy: Policy, steps: Sequence[Record]) -> str | None:
    """The reason why the switch cannot be judged; None if it can be judged."""
    if policy.threshold_settings is None:
        return f"the policy {policy.name} has no threshold"
    if len(steps) < MIN_STEPS:
        return f"{len(steps)} steps say too little, {MIN_STEPS} are needed"
    return None


def late_words(steps: Sequence[Record]) -> str | None:
    """How many of the switches of ``steps`` come behind the damage, and how many would by chance; or None."""
    late, by_chance = mean_of(steps, "late_switch_rate"), mean_of(steps, "late_switch_rate_at_random")
    if late is None:
        return None
    beside = "" if by_chance is None else f" ({by_chance:.0%} would at places drawn at random)"
    return (
        f"{late:.0%} of the switches come behind a token that the teacher gives less than {HARDLY:g}{beside}"
    )


def _almost_always(
    steps: Sequence[Record], rule: str, first_place: int, gain: Gain | None
) -> Signature | None:
    rate, position = mean_of(steps, "switch_rate"), mean_of(steps, "mean_switch_position")
    length = mean_of(steps, "mean_completion_tokens")
    if rate is None or position is None or length is None:
        return None
    if rate < EXCESSIVE_RATE or position - first_place > EARLY * (length - first_place):
        return None
    figures = f"{rate:.0%} of the rollouts switch, in the mean at token {position:.0f} of {length:.0f}"
    late = late_words(steps)
    costs = [late] if late is not None and _is_text_bad(steps) else []
    costs += [str(gain)] if gain is not None and not gain.rose else []
    if costs:
        advice = f"the student writes little of what it learns from: raise {rule}, or warm the student up for longer"
        return Signature("excessive switching", "; ".join([figures, *costs]), advice)
    known = [words for words in (late, None if gain is None else str(gain)) if words is not None]
    if not known:
        advice = "no fault by itself: evaluate more often (trainer.eval_every) to see what it costs"
        return Signature("switching almost always", figures, advice, is_fault=False)
    advice = (
        "nothing shows that this costs anything; whether the place matters at all, a run with policy random_switch "
        "and this run as policy.from_run would show"
    )
    return Signature("switching almost always", "; ".join([figures, *known]), advice, is_fault=False)


def _is_text_bad(steps: Sequence[Record]) -> bool:
    """Whether many switches are late, and no fewer than by chance."""
    late, by_chance = mean_of(steps, "late_switch_rate"), mean_of(steps, "late_switch_rate_at_random")
    if late is None or late < BAD_TEXT:
        return False
    return by_chance is None or late >= NO_BETTER * by_chance


def _late(steps: Sequence[Record], rule: str) -> Signature | None:
    rate, late = mean_of(steps, "switch_rate"), mean_of(steps, "late_switch_rate")
    words = late_words(steps)
    if rate is None or late is None or words is None or rate < FEW_SWITCHES or late < MOSTLY_LATE:
        return None
    return Signature(
        "guidance after the damage",
        words,
        f"the teacher cannot mend what stands before it: lower {rule}, warm the student up for longer, or take a "
        "policy that judges each token (skd) or goes back to the last safe one (motab)",
    )


def _too_short(steps: Sequence[Record], policy: Policy) -> Signature | None:
    could, length = mean_of(steps, "could_switch_rate"), mean_of(steps, "mean_completion_tokens")
    if not policy.first_place or could is None or could >= MOSTLY_TOO_SHORT:
        return None
    mean = "" if length is None else f", and have {length:.0f} in the mean"
    return Signature(
        "a window longer than completions",
        f"{could:.0%} of the rollouts have more than the {policy.first_place} tokens before which no switch can come"
        f"{mean}",
        f"lower {policy.window_setting}",
    )


def _absent(steps: Sequence[Record], rule: str) -> Signature | None:
    rate, divergence = mean_of(steps, "switch_rate"), mean_of(steps, "mean_divergence")
    if rate is None or rate > ABSENT_RATE:
        return None
    ratios = [ratio for step in steps if (ratio := step.get("closest_to_threshold")) is not None]
    if ratios and max(ratios) < OUT_OF_REACH:
        return Signature(
            "a threshold out of reach",
            f"no rollout switches, and no divergence comes to more than {max(ratios):.0%} of its threshold",
            f"this is on-policy distillation: lower {rule}",
        )
    figure = "" if divergence is None else f" at a mean divergence of {divergence:.3g} nats"
    return Signature(
        "no switching",
        f"{rate:.0%} of the rollouts switch{figure}",
        f"this is on-policy distillation: lower {rule}; if the divergence is near 0 the two models are too alike",
    )


def _degraded(steps: Sequence[Record]) -> Signature | None:
    explored, guided = (
        mean_of(steps, f"mean_teacher_entropy_{stage}") for stage in ("exploration", "guidance")
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


def mean_of(steps: Sequence[Record], name: str) -> float | None:
    """The mean of ``name`` over those of ``steps`` that have it; None if none has it, as in older runs."""
    values = [value for step in steps if (value := step.get(name)) is not None]
    return fmean(values) if values else None
