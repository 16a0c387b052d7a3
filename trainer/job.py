"""From a config to a ``Job``: data, model, where to resume, the connection to the students."""

import os
from collections.abc import Callable

import torch
from transformers import PreTrainedTokenizerBase

from adaswitch.config import RunConfig
from adaswitch.io.datasets import encode_prompt, load_examples
from adaswitch.io.models import check_lengths, load_tokenizer, max_positions, stop_token_ids
from adaswitch.io.run_directory import RunDirectory
from adaswitch.schedule import PromptSchedule
from adaswitch.tasks import Task, make_task
from trainer.checkpoint import restore
from trainer.evaluate import EvalPrompts
from trainer.learner import Learner
from trainer.loop import Job
from trainer.recorder import Recorder
from trainer.source import RolloutSource


def prepare(
    config: RunConfig, connect: Callable[[], RolloutSource], should_stop: Callable[[], bool]
) -> tuple[Job, int]:
    """The job, and the step that it starts from. ``connect`` is called last, once all else is right."""
    torch.set_num_threads(config.trainer.num_threads)
    torch.manual_seed(config.seed)
    tokenizer = load_tokenizer(config.student.model)
    task = make_task(config.task)
    schedule = _schedule(config, task, tokenizer)
    eval_prompts = _eval_prompts(config, task, tokenizer)
    run = RunDirectory.create(config)
    learner, start = _learner(config, run)
    job = Job(
        config=config,
        run=run,
        learner=learner,
        tokenizer=tokenizer,
        schedule=schedule,
        source=connect(),
        recorder=Recorder(run, task.name, config.trainer.num_steps, start),
        eval_prompts=eval_prompts,
        should_stop=should_stop,
    )
    return job, start


def _schedule(config: RunConfig, task: Task, tokenizer: PreTrainedTokenizerBase) -> PromptSchedule:
    prompts = [
        tuple(encode_prompt(tokenizer, task, example)) for example in load_examples(config.task, "train")
    ]
    check_lengths(prompts, config.student.max_new_tokens, max_positions(config.student.model), "the student")
    return PromptSchedule(prompts, config.trainer.prompts_per_step, config.trainer.max_staleness, config.seed)


def _eval_prompts(config: RunConfig, task: Task, tokenizer: PreTrainedTokenizerBase) -> EvalPrompts | None:
    if config.trainer.eval_every == 0:
        return None
    examples = load_examples(config.task, "eval")[: config.trainer.eval_prompts]
    if not examples:
        return None
    return EvalPrompts(
        task=task,
        examples=examples,
        prompt_token_ids=[encode_prompt(tokenizer, task, example) for example in examples],
        tokenizer=tokenizer,
        stop_token_ids=stop_token_ids(config.student.model, tokenizer),
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
