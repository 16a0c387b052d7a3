"""``Recorder``: writes what happened to ``metrics.jsonl``, ``eval.jsonl``, the trackers and a line on the screen."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig
from adaswitch.evaluation.evaluation import Evaluation
from adaswitch.method.health import MAX_STEPS, signatures
from adaswitch.method.rollout import Rollout
from adaswitch.runs.conclusion import gain_of
from adaswitch.runs.directory import (
    NUMBER,
    NUMBER_OR_NONE,
    Fields,
    RunDirectory,
    append_record,
    append_records,
    read_records,
)
from adaswitch.runs.figures import FIGURES
from adaswitch.runs.summary import EVAL_FIELDS
from adaswitch.tasks.scores import ALL_SPLITS, MAIN_SPLIT, Score, describe
from trainer.figures import TrainerFigures
from trainer.trackers import Trackers
from trainer.trackers.samples import sample_picture, sample_table
from trainer.update import Update

MAX_UNMARKED_LINES = 5
HEALTH_EVERY = 25
"""The number of steps between two checks for the failure signatures of switching."""
SAMPLES_EVERY = 25
"""The number of steps between two samples of rollouts for the trackers. The first step and the last are among them."""

STEP_FIELDS: Fields = {"step": NUMBER, "step_s": NUMBER, "mean_divergence": NUMBER_OR_NONE}
"""The fields that are read from the steps of an earlier attempt."""


class Recorder:
    """Writes the records of one run. Records that an earlier attempt left at ``start`` or later are dropped first."""

    def __init__(self, run: RunDirectory, config: RunConfig, start: int) -> None:
        for warning in run.drop_records_from(start):
            print(f"warning: {warning}", flush=True)
        self._run = run
        self._config = config
        self._num_steps = config.trainer.num_steps
        self._recent: deque[Mapping[str, float | int | None]] = deque(maxlen=MAX_STEPS)
        self._named: set[str] = set()
        steps = list(read_records(run.metrics, STEP_FIELDS))
        self.steps_s = sum(record["step_s"] for record in steps)
        """The seconds of all steps on record, including those of earlier attempts, but without evaluations."""
        self.mean_divergences: dict[int, float | None] = {
            record["step"]: record.get("mean_divergence") for record in steps
        }
        """The mean divergence of each step in nats, including earlier attempts; None if no divergence was seen."""
        self._evals = list(read_records(run.evals, EVAL_FIELDS))
        self.figures = TrainerFigures(config.trainer.num_steps, start)
        """For Prometheus."""
        self.figures.steps(steps)
        self.figures.evaluations(self._evals)
        self._trackers = Trackers(
            run, config, start, [_event_name(MAIN_SPLIT, m) for m in config.task.ready().metrics]
        )
        self._is_complete = False
        self._last_s = time.perf_counter()

    def step(
        self,
        step: int,
        update: Update,
        metrics: Mapping[str, float | int | None],
        seconds: Mapping[str, float],
        queue_depth: int,
    ) -> None:
        """Record one optimizer step."""
        now_s = time.perf_counter()
        step_s = now_s - self._last_s
        record = {
            "step": step,
            **asdict(update),
            **metrics,
            **seconds,
            "step_s": step_s,
            "queue_depth": queue_depth,
        }
        self._last_s = now_s
        self.steps_s += step_s
        self.mean_divergences[step] = metrics["mean_divergence"]
        append_record(self._run.metrics, record)
        self.figures.steps([record])
        self._trackers.figures(record, step)
        print(
            f"step {step + 1}/{self._num_steps}  {FIGURES['loss'].brief} {update.loss:.4f}  "
            f"{FIGURES['switch_rate'].brief} {metrics['switch_rate']:.0%}  {step_s:.2f} s",
            flush=True,
        )
        self._recent.append(record)
        if (step + 1) % HEALTH_EVERY == 0 or step + 1 == self._num_steps:
            self._name_signatures()

    def samples(self, step: int, rollouts: Sequence[Rollout], tokenizer: PreTrainedTokenizerBase) -> None:
        """Give the trackers some of the rollouts of ``step``, every ``SAMPLES_EVERY`` steps."""
        is_due = step % SAMPLES_EVERY == 0 or step + 1 == self._num_steps
        if is_due and not self._trackers.is_empty:
            table = sample_table(rollouts, lambda ids: str(tokenizer.decode(list(ids))))
            self._trackers.samples(table, sample_picture(rollouts), step)

    def complete(self, final: Path | None) -> None:
        """Note that the run is complete, and tell the trackers the folder of the trained model, if it is there."""
        self._is_complete = True
        if final is not None:
            self._trackers.model(final)

    def _name_signatures(self) -> None:
        """Say it once when the switch shows a known failure signature that is to be put right."""
        for signature in signatures(self._config.policy, list(self._recent), gain_of(self._evals)):
            if signature.is_fault and signature.name not in self._named:
                self._named.add(signature.name)
                print(f"note: {signature}", flush=True)

    def has_eval(self, step: int) -> bool:
        """Whether there is an evaluation on record after ``step`` updates."""
        return any(record["step"] == step for record in self._evals)

    def evaluation(self, step: int, evaluation: Evaluation, seconds: float) -> None:
        """Record the marks after ``step`` updates, with a record for each split and metric.

        The first evaluation also says what was compared with what, if nothing was right.
        """
        hints = [] if self._evals else evaluation.hints
        records = [self._eval_record(step, score, seconds) for score in evaluation.scores]
        if hints:
            records[0]["hints"] = hints  # the main score comes first
        # All at once, so that an evaluation is on record as a whole or not at all.
        append_records(self._run.evals, records)
        self.figures.evaluations(records)
        for score in evaluation.scores:
            words = describe(score.split, score.metric, score.value, score.n, score.unmarked)
            print(f"eval after {step} steps: {words}", flush=True)
        self._trackers.evaluation(_marks(evaluation.scores), step)
        for hint in hints:
            print(f"note: {hint}", flush=True)
        for line in evaluation.unmarked_lines(MAX_UNMARKED_LINES):
            print(line, flush=True)
        self._evals += records
        # An evaluation is not part of the next step's time.
        self._last_s = time.perf_counter()

    def _eval_record(self, step: int, score: Score, seconds: float) -> dict[str, object]:
        return {
            "step": step,
            "task": self._config.task.name,
            "split": score.split,
            "metric": score.metric,
            "value": score.value,
            "n": score.n,
            "unmarked": score.unmarked,
            "interval": None if score.interval is None else asdict(score.interval),
            "eval_s": seconds,
        }

    def close(self) -> None:
        """Close the trackers."""
        self._trackers.close(complete=self._is_complete)


def _marks(scores: Sequence[Score]) -> dict[str, float]:
    """The marks, and the bounds of their intervals, by the names that trackers know them by."""
    marks: dict[str, float] = {}
    for score in scores:
        name = _event_name(score.split, score.metric)
        if score.value is not None:
            marks[name] = score.value
        if score.interval is not None:
            marks |= {f"{name}_low": score.interval.low, f"{name}_high": score.interval.high}
    return marks


def _event_name(split: str, metric: str) -> str:
    return f"eval/{metric}" if split in (MAIN_SPLIT, ALL_SPLITS) else f"eval/{split}/{metric}"
