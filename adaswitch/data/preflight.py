"""Checks a run's data and the lengths of its models, before anything is trained."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig
from adaswitch.data.chat import template_notes
from adaswitch.data.datasets import encode_reference, eval_examples, load_examples
from adaswitch.data.lengths import Limit, fit_prompts
from adaswitch.data.models import load_tokenizer, max_positions
from adaswitch.errors import ConfigError, DataError
from adaswitch.tasks.base import Example, Task


@dataclass(frozen=True)
class RunData:
    """A run's task and its data, which were read, tokenized and checked to fit."""

    task: Task
    tokenizer: PreTrainedTokenizerBase
    train_prompts: list[tuple[int, ...]]
    train_references: list[tuple[int, ...]]
    """The data set's own completions, one for each prompt. Empty if the policy does not train on them."""
    eval_examples: list[Example]
    eval_prompts: list[tuple[int, ...]]
    notes: list[str]
    """Lines for people, to be printed once: what was left out or cut, and what the chat template makes nothing of."""


def load_run_data(config: RunConfig) -> RunData:
    """The data of ``config``. Raises ``UserError`` if a model, a file, a record or a length does not fit."""
    tokenizer = load_tokenizer(config.student.model)
    config.task.check(config.student.max_new_tokens if config.trainer.eval_every else None)
    task = config.task.ready()
    _check_candidates(config, len(tokenizer))
    loaded, budget = load_examples(config.task, "train"), config.student.max_new_tokens
    train = fit_prompts(tokenizer, task, loaded, training_limits(config), budget)
    references = _references(config, tokenizer, train.examples)
    held_out = fit_prompts(tokenizer, task, _eval_examples(config), [_student_limit(config)], budget)
    notes = template_notes(tokenizer, task, train.examples)
    notes += train.note("training prompts") + held_out.note("held-out prompts")
    return RunData(task, tokenizer, train.prompts, references, held_out.examples, held_out.prompts, notes)


def training_limits(config: RunConfig) -> list[Limit]:
    """The longest sequences of the student, and of the teacher where this process can know it.

    The teacher's is a setting, or is read from a local model folder.
    """
    serve, student = config.teacher.serve, _student_limit(config)
    if serve is None:
        return [student]
    if serve.max_model_len is not None:
        return [student, Limit(serve.max_model_len, "the teacher (teacher.serve.max_model_len)")]
    if not os.path.isdir(serve.model):
        return [student]
    return [student, Limit(max_positions(serve.model, "teacher.serve.model"), "the teacher")]


def _student_limit(config: RunConfig) -> Limit:
    return Limit(max_positions(config.student.model), "the student")


def _check_candidates(config: RunConfig, vocab_size: int) -> None:
    """Raises ``ConfigError`` if the policy would accept every token of the vocabulary."""
    accepted = config.policy.accepted_candidates
    if accepted is not None and accepted >= vocab_size:
        raise ConfigError(
            f"policy.accept_top_k {accepted} accepts each of the tokenizer's {vocab_size} tokens: lower it"
        )


def _references(
    config: RunConfig, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]
) -> list[tuple[int, ...]]:
    """The examples' own completions in tokens. Empty if the policy does not train on them.

    Raises ``DataError`` with the number of the first record that has no completion.
    """
    if not config.policy.needs_reference:
        return []
    for example in examples:
        if not example.reference.strip():
            raise DataError(
                f"no reference answer, which policy.kind {config.policy.name} trains on: add one, leave the "
                "record out, or take another policy",
                source=example.place,
            )
    return [tuple(encode_reference(tokenizer, example)) for example in examples]


def _eval_examples(config: RunConfig) -> list[Example]:
    if config.trainer.eval_every == 0:
        return []
    return eval_examples(config.task, config.trainer.eval_prompts)
