"""What can be known to be wrong with a run before anything is trained: its data, its models' lengths."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from adaswitch.config import ChainTaskConfig, RunConfig, TaskConfig, accepted_candidates, needs_reference
from adaswitch.errors import ConfigError, DataError
from adaswitch.io.datasets import (
    check_chain_budget,
    encode_prompt,
    encode_reference,
    eval_examples,
    load_examples,
    source_name,
)
from adaswitch.io.models import check_lengths, load_tokenizer, max_positions
from adaswitch.tasks import Example, Task, make_task


@dataclass(frozen=True)
class RunData:
    """A run's task and data, read, put into tokens and found to fit."""

    task: Task
    tokenizer: PreTrainedTokenizerBase
    train_prompts: list[tuple[int, ...]]
    train_references: list[tuple[int, ...]]
    """The data set's own completions, one a prompt; none at all if the policy does not train on them."""
    eval_examples: list[Example]
    eval_prompts: list[tuple[int, ...]]


def load_run_data(config: RunConfig) -> RunData:
    """The data of ``config``. Raises ``UserError`` for a model, a file, a record or a length that does not fit."""
    tokenizer = load_tokenizer(config.student.model)
    task = make_task(config.task)
    _check_candidates(config, len(tokenizer))
    train_examples = load_examples(config.task, "train")
    train = [tuple(encode_prompt(tokenizer, task, example)) for example in train_examples]
    references = _references(config, tokenizer, train_examples)
    examples = _eval_examples(config)
    held_out = [tuple(encode_prompt(tokenizer, task, example)) for example in examples]
    budget, longest = config.student.max_new_tokens, max_positions(config.student.model)
    check_lengths(train, budget, longest, "the student")
    check_lengths(held_out, budget, longest, "the student")
    serve = config.teacher.serve
    if serve is not None and serve.max_model_len is not None:
        check_lengths(train, budget, serve.max_model_len, "the teacher (teacher.serve.max_model_len)")
    return RunData(task, tokenizer, train, references, examples, held_out)


def _check_candidates(config: RunConfig, vocab_size: int) -> None:
    """Raises ``ConfigError`` where the policy would accept every token that there is."""
    accepted = accepted_candidates(config.policy)
    if accepted is not None and accepted >= vocab_size:
        raise ConfigError(
            f"policy.accept_top_k {accepted} accepts each of the tokenizer's {vocab_size} tokens: lower it"
        )


def _references(
    config: RunConfig, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]
) -> list[tuple[int, ...]]:
    """The examples' own completions in tokens, where the policy trains on them.

    Raises ``DataError`` with the number of the first record that has none.
    """
    if not needs_reference(config.policy):
        return []
    for example in examples:
        if not example.reference.strip():
            raise DataError(
                f"no reference answer, which policy.kind {config.policy.kind} trains on: add one, leave the "
                "record out, or take another policy",
                source=_train_source(config.task),
                line=example.number,
            )
    return [tuple(encode_reference(tokenizer, example)) for example in examples]


def _train_source(task: TaskConfig) -> str:
    return "chain prompts" if isinstance(task, ChainTaskConfig) else source_name(task.train)


def _eval_examples(config: RunConfig) -> list[Example]:
    if config.trainer.eval_every == 0:
        return []
    check_chain_budget(config.task, config.student.max_new_tokens)
    return eval_examples(config.task, config.trainer.eval_prompts)
