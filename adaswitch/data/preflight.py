"""Checks a run's data and the lengths of its models, before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig
from adaswitch.data.datasets import (
    encode_prompt,
    encode_reference,
    eval_examples,
    load_examples,
)
from adaswitch.data.models import load_tokenizer, max_positions
from adaswitch.errors import ConfigError, DataError, ModelError
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


def load_run_data(config: RunConfig) -> RunData:
    """The data of ``config``. Raises ``UserError`` if a model, a file, a record or a length does not fit."""
    tokenizer = load_tokenizer(config.student.model)
    config.task.check(config.student.max_new_tokens if config.trainer.eval_every else None)
    task = config.task.ready()
    _check_candidates(config, len(tokenizer))
    train_examples = load_examples(config.task, "train")
    train = [tuple(encode_prompt(tokenizer, task, example)) for example in train_examples]
    references = _references(config, tokenizer, train_examples)
    examples = _eval_examples(config)
    held_out = [tuple(encode_prompt(tokenizer, task, example)) for example in examples]
    budget, longest = config.student.max_new_tokens, max_positions(config.student.model)
    _check_lengths(train_examples, train, budget, longest, "the student")
    _check_lengths(examples, held_out, budget, longest, "the student")
    serve = config.teacher.serve
    if serve is not None and serve.max_model_len is not None:
        whose = "the teacher (teacher.serve.max_model_len)"
        _check_lengths(train_examples, train, budget, serve.max_model_len, whose)
    return RunData(task, tokenizer, train, references, examples, held_out)


def _check_lengths(
    examples: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    max_tokens: int,
    whose: str,
) -> None:
    """Raises ``ModelError`` for the first prompt that leaves no room for the whole completion budget."""
    for example, prompt in zip(examples, prompts, strict=True):
        if len(prompt) + max_new_tokens > max_tokens:
            raise ModelError(
                f"{example.place}: the prompt has {len(prompt)} tokens; with student.max_new_tokens "
                f"{max_new_tokens} that is more than the {max_tokens} that {whose} takes: lower the budget, or "
                "leave the record out"
            )


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
