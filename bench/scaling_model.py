"""Predicts how throughput grows with students, teachers and trainers: the slowest stage sets the pace of a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Tokens of a mean rollout: written by the student, scored and written by the teacher, trained on."""

    student_tokens: float
    scored_tokens: float
    teacher_tokens: float
    trained_tokens: float


@dataclass(frozen=True)
class Paces:
    """What a single student, teacher or trainer does by itself, in tokens a second.

    A teacher has one pace for scoring and one for writing. There is only one queue; its pace is in rollouts a second.
    """

    student: float
    scoring: float
    teacher: float
    trainer: float
    queue: float


@dataclass(frozen=True)
class Fleet:
    """How many students, teachers and trainers work at the same time."""

    students: int = 1
    teachers: int = 1
    trainers: int = 1


def stage_seconds(work: Work, paces: Paces, fleet: Fleet) -> dict[str, float]:
    """Seconds that each stage needs for one rollout, if the members of a stage share the rollouts."""
    teacher_s = work.scored_tokens / paces.scoring + work.teacher_tokens / paces.teacher
    return {
        "students": work.student_tokens / paces.student / fleet.students,
        "teachers": teacher_s / fleet.teachers,
        "trainers": work.trained_tokens / paces.trainer / fleet.trainers,
        "queue": 1 / paces.queue,
    }


def bound(work: Work, paces: Paces, fleet: Fleet) -> tuple[str, float]:
    """The slowest stage, and its rollouts a second: the whole run's pace, if students may run ahead of the trainer."""
    seconds = stage_seconds(work, paces, fleet)
    name = max(seconds, key=lambda stage: seconds[stage])
    return name, 1 / seconds[name]


def synchronous_step_s(
    work: Work, paces: Paces, fleet: Fleet, prompts_per_step: int, publish_s: float
) -> float:
    """Seconds of a step if students may not run ahead: all stages one after the other, then publishing weights."""
    return prompts_per_step * sum(stage_seconds(work, paces, fleet).values()) + publish_s
