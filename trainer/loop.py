"""The training loop, on one screen."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig
from adaswitch.evaluation.evaluation import EvalPrompts, evaluate
from adaswitch.evaluation.writer import Writer
from adaswitch.method.metrics import rollout_metrics
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Rollout
from adaswitch.method.schedule import PromptSchedule, divergence_scale
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.shards import save_rollouts
from adaswitch.runs.status import Phase, StatusFile
from trainer.ending import checkpoint, saving_on_failure
from trainer.final import write_final
from trainer.ranks.learner import AnyLearner
from trainer.recorder import Recorder
from trainer.source import RolloutSource
from trainer.update import Update


@dataclass(frozen=True)
class Job:
    """All objects that the loop works with. ``should_stop`` is checked wherever something takes long."""

    config: RunConfig
    run: RunDirectory
    learner: AnyLearner
    tokenizer: PreTrainedTokenizerBase
    schedule: PromptSchedule
    source: RolloutSource
    recorder: Recorder
    status: StatusFile
    eval_prompts: EvalPrompts | None
    writer: Writer
    should_stop: Callable[[], bool]


def train(job: Job, start: int) -> int:
    """Train from step ``start`` until the run ``is_complete``, or ``should_stop``. Returns the number of updates.

    What was trained is saved at the end, also if an error ends the training.
    """
    with saving_on_failure(job):
        step = _updates(job, start)
        if is_long_enough(job, step):
            evaluate_if_due(job, step)
        checkpoint(job, step)
        if is_complete(job, step):
            write_final(job, step)
            job.status.end(Phase.COMPLETE, "the last step is done")
        else:
            job.status.end(Phase.STOPPED, "it was asked to stop")
    return step


def _updates(job: Job, start: int) -> int:
    """All updates from ``start`` on. Returns their number together with those before."""
    config = job.config.trainer
    job.status.enter(Phase.STARTING, start)
    job.source.publish(start, job.learner.weights())
    step, offered = start, deque[list[Prompt]]()
    while not is_long_enough(job, step) and not job.should_stop():
        if config.max_staleness:
            _offer(job, step, offered)  # students need not wait for what the trainer does meanwhile
        _checkpoint_if_due(job, step, start)
        evaluate_if_due(job, step)
        job.status.enter(Phase.TRAINING, step)
        _offer(job, step, offered)
        waited_since = time.perf_counter()
        rollouts = job.source.take(offered.popleft(), job.should_stop)
        if rollouts is None:
            break
        _update(job, step, rollouts, waited_since)
        step += 1
    _checkpoint_if_due(job, step, start)
    return step


def _offer(job: Job, step: int, offered: deque[list[Prompt]]) -> None:
    """Offer the prompts of all steps that the staleness bound admits at ``step``, and that are not ``offered`` yet."""
    config = job.config.trainer
    while step + len(offered) <= min(step + config.max_staleness, config.num_steps - 1):
        offered.append(prompts_of(job, step + len(offered)))
        job.source.offer(offered[-1])


def _checkpoint_if_due(job: Job, step: int, start: int) -> None:
    every = job.config.trainer.checkpoint_every
    if every and step > start and step % every == 0:
        checkpoint(job, step)


def _update(job: Job, step: int, rollouts: list[Rollout], waited_since: float) -> None:
    """One update, which is on record even if the weights that it made cannot be published."""
    updated_since, queue_depth = time.perf_counter(), job.source.depth()
    update = job.learner.update(rollouts, step)
    job.status.enter(Phase.TRAINING, step + 1)
    published_since = time.perf_counter()
    try:
        job.source.publish(step + 1, job.learner.weights())
    finally:
        seconds = {
            "wait_s": updated_since - waited_since,
            "update_s": published_since - updated_since,
            "publish_s": time.perf_counter() - published_since,
        }
        record(job, step, rollouts, update, seconds, queue_depth)


def prompts_of(job: Job, step: int) -> list[Prompt]:
    """The prompts of ``step``. If the policy needs a divergence scale, they carry the scale from earlier steps."""
    scale_steps = job.config.policy.scale_steps
    if scale_steps is None:
        return job.schedule.step(step)
    means, max_staleness = job.recorder.mean_divergences, job.config.trainer.max_staleness
    return job.schedule.step(step, divergence_scale(means, step, scale_steps, max_staleness))


def is_complete(job: Job, step: int) -> bool:
    """Whether nothing is left to do after ``step`` updates: no step, and no evaluation after the last."""
    return is_long_enough(job, step) and not is_evaluation_due(job, step)


def is_long_enough(job: Job, step: int) -> bool:
    """Whether ``step`` updates are the whole run, by their number or by the time that they took."""
    limit_s = job.config.trainer.time_limit_s
    return step >= job.config.trainer.num_steps or (limit_s is not None and job.recorder.steps_s >= limit_s)


def record(
    job: Job, step: int, rollouts: list[Rollout], update: Update, seconds: dict[str, float], queue_depth: int
) -> None:
    """Record one step: its metrics, and the rollouts themselves."""
    metrics = rollout_metrics(rollouts, version=step, first_place=job.config.policy.first_place)
    job.recorder.step(step, update, metrics, seconds, queue_depth)
    job.recorder.samples(step, rollouts, job.tokenizer)
    save_rollouts(job.run, step, rollouts, job.config.trainer.save_rollouts)


def is_evaluation_due(job: Job, step: int) -> bool:
    """Whether to evaluate: every ``eval_every`` steps, before the first and after the last, if not on record yet."""
    every = job.config.trainer.eval_every
    due = every > 0 and (step % every == 0 or is_long_enough(job, step))
    return due and job.eval_prompts is not None and not job.recorder.has_eval(step)


def evaluate_if_due(job: Job, step: int) -> None:
    """Evaluate on held-out prompts if ``is_evaluation_due``. An evaluation that is stopped leaves no record."""
    if job.eval_prompts is None or not is_evaluation_due(job, step):
        return
    job.status.enter(Phase.EVALUATING, step)
    started = time.perf_counter()
    with job.learner.explaining(step):
        evaluation = evaluate(job.writer, job.eval_prompts, should_stop=job.should_stop)
    if evaluation is not None:
        job.recorder.evaluation(step, evaluation, time.perf_counter() - started)
