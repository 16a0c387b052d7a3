"""The Prometheus metrics of a run: which there are, and how their values travel from a part to where they are served.

Names follow Prometheus' conventions. A counter counts within one life of its part, and its series carries the name of
that life in the label ``source``. So a part that is started again begins a series of its own, and a rate over all
series of a run counts everything once. The trainer's counters begin with what is on record from earlier attempts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from adaswitch.runs.figures import FIGURES

RUN, SOURCE = "run", "source"
"""The labels of every metric: the run's name, and the name of one life of the part that gave it."""
COUNTER, GAUGE = "counter", "gauge"


@dataclass(frozen=True)
class Family:
    """One metric: its kind, what it is in one sentence, and its labels beside ``run`` and ``source``."""

    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """The value of one metric for one set of labels."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All samples of one life of a part, as they were at one time. They take the place of those in earlier reports."""

    part: str
    """``trainer``, ``queue`` or ``student``."""
    source: str
    samples: tuple[Sample, ...]
    made_at: float = 0.0
    """The time in seconds since 1970. Calls on Ray may overtake each other, and an older report changes nothing."""


def _means(name: str) -> str:
    return FIGURES[name].meaning


TRAINER: dict[str, Family] = {
    "adaswitch_trainer_step": Family(GAUGE, "The number of updates that made the present weights."),
    "adaswitch_trainer_steps_planned": Family(
        GAUGE, "The number of updates after which the run is complete."
    ),
    "adaswitch_trainer_updates_total": Family(COUNTER, "The updates on record."),
    "adaswitch_trainer_trained_tokens_total": Family(COUNTER, "The tokens that updates were made on."),
    "adaswitch_trainer_tokens_total": Family(
        COUNTER,
        "The tokens of the rollouts on record: those that the student wrote, those of them that were thrown away, and "
        "those that the teacher scored and wrote.",
        ("kind",),
    ),
    "adaswitch_trainer_seconds_total": Family(
        COUNTER,
        "What the trainer did with its time: waiting for rollouts, updating, publishing weights, evaluating, and all "
        "else.",
        ("activity",),
    ),
    "adaswitch_trainer_step_seconds": Family(GAUGE, _means("step_s")),
    "adaswitch_trainer_loss_nats": Family(
        GAUGE, f"{_means('loss')} Beside it the plain means, by who wrote the token.", ("tokens",)
    ),
    "adaswitch_trainer_switched_ratio": Family(GAUGE, _means("switch_rate")),
    "adaswitch_trainer_switch_position_tokens": Family(GAUGE, _means("mean_switch_position")),
    "adaswitch_trainer_completion_tokens": Family(GAUGE, _means("mean_completion_tokens")),
    "adaswitch_trainer_divergence_nats": Family(GAUGE, _means("mean_divergence")),
    "adaswitch_trainer_teacher_entropy_nats": Family(
        GAUGE, "How unsure the teacher is on the student's text, and on its own.", ("tokens",)
    ),
    "adaswitch_trainer_rollout_seconds": Family(
        GAUGE, "The mean time that a rollout of a step waited, by what it waited for.", ("part",)
    ),
    "adaswitch_trainer_staleness_updates": Family(GAUGE, _means("staleness")),
    "adaswitch_trainer_queue_rollouts": Family(GAUGE, _means("queue_depth")),
    "adaswitch_trainer_gradient_norm": Family(GAUGE, _means("grad_norm")),
    "adaswitch_trainer_learning_rate": Family(GAUGE, _means("learning_rate")),
    "adaswitch_trainer_evaluated_step": Family(
        GAUGE, "The number of updates that made the weights of the newest evaluation."
    ),
    "adaswitch_trainer_evaluation_score": Family(
        GAUGE, "The mean mark of held-out prompts in the newest evaluation.", ("split", "metric")
    ),
    "adaswitch_trainer_evaluation_score_low": Family(
        GAUGE, "The lower bound of that mark's 95 % interval.", ("split", "metric")
    ),
    "adaswitch_trainer_evaluation_score_high": Family(
        GAUGE, "The upper bound of that mark's 95 % interval.", ("split", "metric")
    ),
}
QUEUE: dict[str, Family] = {
    "adaswitch_queue_prompts": Family(
        GAUGE, "The prompts that wait for a student, and those that are with one.", ("state",)
    ),
    "adaswitch_queue_rollouts": Family(GAUGE, "The rollouts that wait for the trainer."),
    "adaswitch_queue_capacity": Family(GAUGE, "The most prompts with students and rollouts together."),
    "adaswitch_queue_students": Family(GAUGE, "The students that give signs of life."),
    "adaswitch_queue_offered_prompts_total": Family(COUNTER, "The prompts that the trainer offered."),
    "adaswitch_queue_accepted_rollouts_total": Family(
        COUNTER, "The rollouts that came in, each prompt's first. An evaluation's completions are among them."
    ),
    "adaswitch_queue_duplicate_rollouts_total": Family(
        COUNTER, "The rollouts that came a second time, or that nobody wanted any more."
    ),
    "adaswitch_queue_expired_leases_total": Family(
        COUNTER, "The prompts that went to another student because their rollouts did not come."
    ),
}
STUDENT: dict[str, Family] = {
    "adaswitch_student_seconds_total": Family(COUNTER, "The time for which the student has been there."),
    "adaswitch_student_busy_seconds_total": Family(
        COUNTER,
        "The time in which the student's model was at work, and the time in which a request was with the teacher. Both "
        "may pass at once.",
        ("model",),
    ),
    "adaswitch_student_rollouts_total": Family(COUNTER, "The rollouts that the student has made."),
    "adaswitch_student_tokens_total": Family(
        COUNTER,
        "The tokens of these rollouts: those that the student wrote, those of them that were thrown away, and those "
        "that the teacher scored and wrote.",
        ("kind",),
    ),
    "adaswitch_student_prompts_in_flight": Family(GAUGE, "The prompts that the student is at work on."),
    "adaswitch_student_weights_version": Family(
        GAUGE, "The version of the weights that the student writes with."
    ),
}
FAMILIES: dict[str, Family] = {**TRAINER, **QUEUE, **STUDENT}
"""All metrics of a run but the teacher's, which has its own."""

TOKEN_KINDS = {
    "student": "student_tokens",
    "wasted": "wasted_tokens",
    "scored": "scored_tokens",
    "teacher": "teacher_tokens",
}
"""The values of ``kind``, each with the name of the figure."""
ACTIVITIES = {"waiting": "wait_s", "updating": "update_s", "publishing": "publish_s"}
"""The values of ``activity`` with a figure in a step's record. ``evaluating`` and ``other`` stand beside them."""
ROLLOUT_PARTS = {"student_writing": "write_s", "teacher_scoring": "score_s", "teacher_writing": "generate_s"}
"""The values of ``part``, each with the name of the figure."""
