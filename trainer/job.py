"""From a config to a ``Job``: the data, the model, the step to resume from, the connection to the students."""

import os
from collections.abc import Callable, Sequence

import torch

from adaswitch.config.run import RunConfig, check_rules
from adaswitch.data.models import max_positions, stop_token_ids
from adaswitch.data.preflight import RunData, load_run_data
from adaswitch.evaluation.evaluation import EvalPrompts
from adaswitch.method.policies.replay import Replay
from adaswitch.method.schedule import PromptSchedule, TeacherShares
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.recorded import resolve_config
from trainer.checkpoint import restore
from trainer.learner import Learner
from trainer.loop import Job
from trainer.recorder import Recorder
from trainer.replay import ReplaySource
from trainer.source import RolloutSource


def prepare(
    config: RunConfig, connect: Callable[[], RolloutSource], should_stop: Callable[[], bool]
) -> tuple[Job, int]:
    """The job, and the step that it starts from. ``connect`` is called last, once everything else is right.

    If rollouts are replayed, ``connect`` is not called, because nobody else takes part in the run.
    """
    check_rules(config)
    config = resolve_config(config)
    torch.set_num_threads(config.trainer.num_threads)
    torch.manual_seed(config.seed)
    data = load_run_data(config)
    run = RunDirectory.create(config)
    run.write_notes(data.notes)
    for note in data.notes:
        print(f"note: {note}", flush=True)
    learner, start = _learner(config, run)
    recorder, eval_prompts = Recorder(run, config, start), _eval_prompts(config, data)
    job = Job(
        config=config,
        run=run,
        learner=learner,
        tokenizer=data.tokenizer,
        schedule=schedule_of(config, data.train_prompts, data.train_references),
        source=_replay_source(config, data) or connect(),
        recorder=recorder,
        eval_prompts=eval_prompts,
        should_stop=should_stop,
    )
    return job, start


def schedule_of(
    config: RunConfig, prompts: Sequence[tuple[int, ...]], references: Sequence[tuple[int, ...]] = ()
) -> PromptSchedule:
    """The schedule of a run: which prompt comes in which step."""
    trainer = config.trainer
    shares = TeacherShares(config.teacher_budget, trainer.prompts_per_step, trainer.num_steps)
    return PromptSchedule(
        prompts, trainer.prompts_per_step, trainer.max_staleness, config.seed, references, shares
    )


def _replay_source(config: RunConfig, data: RunData) -> ReplaySource | None:
    if not isinstance(config.policy, Replay):
        return None
    return ReplaySource(config.policy.run, len(data.tokenizer), max_positions(config.student.model))


def _eval_prompts(config: RunConfig, data: RunData) -> EvalPrompts | None:
    if not data.eval_examples:
        return None
    return EvalPrompts(
        task=data.task,
        examples=data.eval_examples,
        prompt_token_ids=data.eval_prompts,
        tokenizer=data.tokenizer,
        stop_token_ids=stop_token_ids(config.student.model, data.tokenizer),
        max_new_tokens=config.student.max_new_tokens,
        batch_size=config.trainer.eval_batch_size,
    )


def _learner(config: RunConfig, run: RunDirectory) -> tuple[Learner, int]:
    device = config.trainer.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = run.checkpoint_steps() if config.trainer.resume else []
    if not steps:
        return Learner.from_folder(config.student.model, config.trainer, device), 0
    folder = run.checkpoint(steps[-1])
    learner = Learner.from_folder(os.fspath(folder), config.trainer, device)
    return learner, restore(folder, learner)
