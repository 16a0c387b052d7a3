"""The training loop, on one screen."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig
from adaswitch.evaluation.evaluation import EvalPrompts, evaluate
from adaswitch.method.metrics import rollout_metrics
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Rollout
from adaswitch.method.schedule import PromptSchedule, divergence_scale
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.shards import save_rollouts
from trainer.checkpoint import save_checkpoint
from trainer.learner import Learner, Update
from trainer.recorder import Recorder
from trainer.source import RolloutSource


@dataclass(frozen=True)
class Job:
    """All objects that the loop works with. ``should_stop`` is checked wherever something takes long."""

    config: RunConfig
    run: RunDirectory
    learner: Learner
    tokenizer: PreTrainedTokenizerBase
    schedule: PromptSchedule
    source: RolloutSource
    recorder: Recorder
    eval_prompts: EvalPrompts | None
    should_stop: Callable[[], bool]


def train(job: Job, start: int) -> int:
    """Train from step ``start`` until the run ``is_complete``, or ``should_stop``. Returns the number of updates."""
    config = job.config.trainer
    job.source.publish(start, job.learner.weights())
    step, offered = start, deque[list[Prompt]]()
    while not is_complete(job, step) and not job.should_stop():
        evaluate_if_due(job, step)
        while step + len(offered) <= min(step + config.max_staleness, config.num_steps - 1):
            offered.append(prompts_of(job, step + len(offered)))
            job.source.offer(offered[-1])
        waited_since = time.perf_counter()
        rollouts = job.source.take(offered.popleft(), job.should_stop)
        if rollouts is None:
            break
        updated_since = time.perf_counter()
        update = job.learner.update(rollouts, step)
        published_since = time.perf_counter()
        job.source.publish(step + 1, job.learner.weights())
        seconds = {
            "wait_s": updated_since - waited_since,
            "update_s": published_since - updated_since,
            "publish_s": time.perf_counter() - published_since,
        }
        record(job, step, rollouts, update, seconds)
        step += 1
        if config.checkpoint_every and step % config.checkpoint_every == 0:
            checkpoint(job, step)
    if is_complete(job, step):
        evaluate_if_due(job, step)
    checkpoint(job, step)
    return step


def prompts_of(job: Job, step: int) -> list[Prompt]:
    """The prompts of ``step``. If the policy needs a divergence scale, they carry the scale from earlier steps."""
    scale_steps = job.config.policy.scale_steps
    if scale_steps is None:
        return job.schedule.step(step)
    means, max_staleness = job.recorder.mean_divergences, job.config.trainer.max_staleness
    return job.schedule.step(step, divergence_scale(means, step, scale_steps, max_staleness))


def is_complete(job: Job, step: int) -> bool:
    """Whether the run is complete after ``step`` updates, by their number or by the time that they took."""
    limit_s = job.config.trainer.time_limit_s
    return step >= job.config.trainer.num_steps or (limit_s is not None and job.recorder.steps_s >= limit_s)


def record(job: Job, step: int, rollouts: list[Rollout], update: Update, seconds: dict[str, float]) -> None:
    """Record one step: its metrics, and the rollouts themselves."""
    metrics = rollout_metrics(rollouts, version=step)
    job.recorder.step(step, update, metrics, seconds, queue_depth=job.source.depth())
    if job.config.trainer.save_rollouts:
        save_rollouts(job.run, step, rollouts)


def evaluate_if_due(job: Job, step: int) -> None:
    """Evaluate on held-out prompts every ``eval_every`` steps, and before the first and after the last step.

    An evaluation that is on record already is not made again.
    """
    every = job.config.trainer.eval_every
    due = every > 0 and (step % every == 0 or is_complete(job, step))
    if not due or job.eval_prompts is None or job.recorder.has_eval(step):
        return
    started = time.perf_counter()
    evaluation = evaluate(job.learner.model, job.eval_prompts, should_stop=job.should_stop)
    if evaluation is not None:
        job.recorder.evaluation(step, evaluation, time.perf_counter() - started)


def checkpoint(job: Job, step: int) -> None:
    """Save all that is needed to go on from ``step``."""
    save_checkpoint(job.run, step, job.learner, job.tokenizer, job.config.trainer.keep_checkpoints)
