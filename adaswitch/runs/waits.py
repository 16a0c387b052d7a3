"""``adaswitch doctor RUN``: who waited for whom in a run's newest steps, and which setting would change it."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from adaswitch.config.run import RunConfig
from adaswitch.method.health import MAX_STEPS, MIN_STEPS, Signature
from adaswitch.runs.directory import NUMBER_OR_NONE, Fields
from adaswitch.runs.figures import FIGURES

WAIT_FIELDS: Fields = dict.fromkeys(
    ("wait_s", "update_s", "publish_s", "step_s", "write_s", "score_s", "generate_s"), NUMBER_OR_NONE
)
"""The fields of a step's record from which this is seen, all in seconds. Records of older runs may lack them."""
MUCH = 0.5
LITTLE = 0.1
WORTH_HIDING = 0.15
"""The share of the time from which it pays off that the trainer's work goes on beside the rollouts."""

Record = Mapping[str, float | int | None]


def who_waited(config: RunConfig, steps: Sequence[Record]) -> Signature | None:
    """Who waited for whom in the newest of ``steps``; None where nobody waits, or too few steps say so."""
    known = [step for step in steps if all(step.get(name) is not None for name in WAIT_FIELDS)]
    recent = known[-MAX_STEPS:]
    if len(recent) < MIN_STEPS or not config.policy.needs_students:
        return None
    total_s = _sum(recent, "step_s")
    if total_s <= 0:
        return None
    shares = {name: _sum(recent, f"{name}_s") / total_s for name in ("wait", "update", "publish")}
    rollout = {name: fmean(float(step[f"{name}_s"] or 0) for step in recent) for name in _PARTS}
    others = max(0.0, 1 - sum(shares.values()))
    evidence = (
        f"the trainer waited for rollouts {shares['wait']:.0%} of the time, and had its own work for the rest "
        f"(updates {shares['update']:.0%}, publishing {shares['publish']:.0%}, evaluations, checkpoints and records "
        f"{others:.0%}); a rollout took {_parts(rollout)}"
    )
    return Signature(
        "who waited for whom", evidence, _advice(config, shares["wait"], rollout), is_fault=False
    )


_PARTS = {part: FIGURES[f"{part}_s"].words for part in ("write", "score", "generate")}


def _parts(rollout: Mapping[str, float]) -> str:
    whole = sum(rollout.values())
    if not whole:
        return "no time"
    parts = ", ".join(f"{seconds / whole:.0%} in {_PARTS[name]}" for name, seconds in rollout.items())
    return f"{whole:.3g} s, {parts}"


def _advice(config: RunConfig, wait: float, rollout: Mapping[str, float]) -> str:
    ahead = config.trainer.max_staleness
    if wait < LITTLE and ahead:
        return "students wait for the trainer: give it more with trainer.num_threads or trainer.micro_batch_tokens"
    if ahead == 0 and 1 - wait >= WORTH_HIDING:
        return "trainer.max_staleness: 1 lets students write the next step's rollouts during the trainer's own work"
    if wait < MUCH:
        return "neither side waits much for the other"
    if rollout["score"] + rollout["generate"] > rollout["write"]:
        return (
            "rollouts wait for the teacher: give it more cores or GPUs, or more of it with teacher.replicas"
        )
    return "rollouts wait for the student: raise student.num_actors, or write with student.engine vllm"


def _sum(steps: Sequence[Record], name: str) -> float:
    return sum(float(step[name] or 0) for step in steps)
