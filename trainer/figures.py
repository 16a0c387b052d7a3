"""The trainer's figures for Prometheus, which follow from its records, those of earlier attempts included."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adaswitch.runs.exported import ACTIVITIES, ROLLOUT_PARTS, TOKEN_KINDS, Sample

Record = Mapping[str, Any]
Gauges = Mapping[str, tuple[str, Mapping[str, str]]]

STEP_GAUGES: Gauges = {
    "loss": ("adaswitch_trainer_loss_nats", {"tokens": "all"}),
    "loss_on_student_tokens": ("adaswitch_trainer_loss_nats", {"tokens": "student"}),
    "loss_on_teacher_tokens": ("adaswitch_trainer_loss_nats", {"tokens": "teacher"}),
    "switch_rate": ("adaswitch_trainer_switched_ratio", {}),
    "mean_switch_position": ("adaswitch_trainer_switch_position_tokens", {}),
    "mean_completion_tokens": ("adaswitch_trainer_completion_tokens", {}),
    "mean_divergence": ("adaswitch_trainer_divergence_nats", {}),
    "mean_teacher_entropy_exploration": ("adaswitch_trainer_teacher_entropy_nats", {"tokens": "student"}),
    "mean_teacher_entropy_guidance": ("adaswitch_trainer_teacher_entropy_nats", {"tokens": "teacher"}),
    "staleness": ("adaswitch_trainer_staleness_updates", {}),
    "queue_depth": ("adaswitch_trainer_queue_rollouts", {}),
    "grad_norm": ("adaswitch_trainer_gradient_norm", {}),
    "learning_rate": ("adaswitch_trainer_learning_rate", {}),
    "step_s": ("adaswitch_trainer_step_seconds", {}),
    **{name: ("adaswitch_trainer_rollout_seconds", {"part": part}) for part, name in ROLLOUT_PARTS.items()},
}
"""The figures of a step's record that are gauges: the metric and its labels."""


class TrainerFigures:
    """Follows the records of a run. ``samples`` may be called in any thread."""

    def __init__(self, num_steps: int, start: int) -> None:
        """``num_steps`` is how long the run is, ``start`` the number of updates before this attempt."""
        self._num_steps = num_steps
        self._step = start
        self._num_updates = 0
        self._trained_tokens = 0.0
        self._tokens = dict.fromkeys(TOKEN_KINDS, 0.0)
        self._seconds = {**dict.fromkeys(ACTIVITIES, 0.0), "evaluating": 0.0, "other": 0.0}
        self._newest: Record = {}
        self._evaluation: Sequence[Record] = ()
        self._evaluated: set[int] = set()
        self._samples = self._all()

    def samples(self) -> tuple[Sample, ...]:
        """All figures, as of the newest record."""
        return self._samples

    def steps(self, records: Iterable[Record]) -> None:
        """Follow the records of steps, as in ``metrics.jsonl``. What a record does not hold counts as 0."""
        for record in records:
            self._num_updates += 1
            self._step = max(self._step, int(record["step"]) + 1)
            self._trained_tokens += _number(record, "num_tokens")
            for kind, name in TOKEN_KINDS.items():
                self._tokens[kind] += _number(record, name)
            known = {activity: _number(record, name) for activity, name in ACTIVITIES.items()}
            known["other"] = max(0.0, _number(record, "step_s") - sum(known.values()))
            for activity, seconds in known.items():
                self._seconds[activity] += seconds
            self._newest = record
        self._samples = self._all()

    def evaluations(self, records: Iterable[Record]) -> None:
        """Follow the records of evaluations, as in ``eval.jsonl``: one for each split and metric."""
        for record in records:
            step = int(record["step"])
            if step not in self._evaluated:
                self._evaluated.add(step)
                self._seconds["evaluating"] += _number(record, "eval_s")
                self._evaluation = ()
            self._evaluation = (*self._evaluation, record)
        self._samples = self._all()

    def _all(self) -> tuple[Sample, ...]:
        return (
            Sample("adaswitch_trainer_step", self._step),
            Sample("adaswitch_trainer_steps_planned", self._num_steps),
            Sample("adaswitch_trainer_updates_total", self._num_updates),
            Sample("adaswitch_trainer_trained_tokens_total", self._trained_tokens),
            *(Sample("adaswitch_trainer_tokens_total", n, {"kind": k}) for k, n in self._tokens.items()),
            *(
                Sample("adaswitch_trainer_seconds_total", s, {"activity": a})
                for a, s in self._seconds.items()
            ),
            *_gauges(self._newest),
            *_marks(self._evaluation),
        )


def _gauges(record: Record) -> Iterable[Sample]:
    """The gauges that ``record`` has numbers for."""
    for figure, (name, labels) in STEP_GAUGES.items():
        if isinstance(value := record.get(figure), int | float):
            yield Sample(name, float(value), labels)


def _marks(records: Sequence[Record]) -> Iterable[Sample]:
    """The marks of one evaluation, with their intervals."""
    for record in records:
        labels = {"split": str(record.get("split")), "metric": str(record.get("metric"))}
        interval = record.get("interval")
        low, high = (
            (interval.get("low"), interval.get("high")) if isinstance(interval, Mapping) else (None, None)
        )
        for suffix, value in (("", record.get("value")), ("_low", low), ("_high", high)):
            if isinstance(value, int | float):
                yield Sample(f"adaswitch_trainer_evaluation_score{suffix}", float(value), labels)
    if records:
        yield Sample("adaswitch_trainer_evaluated_step", int(records[0]["step"]))


def _number(record: Record, name: str) -> float:
    value = record.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
