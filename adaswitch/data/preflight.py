"""Checks a run's data and the lengths of its models, before anything is trained."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig
from adaswitch.data.chat import template_notes
from adaswitch.data.datasets import encode_reference
from adaswitch.data.lengths import Limit, fit_prompts
from adaswitch.data.model_config import check_student_model
from adaswitch.data.models import max_positions
from adaswitch.data.run_examples import RunExamples, read_run_examples
from adaswitch.data.run_models import RunModels, read_run_models
from adaswitch.data.served_model import check_served_model
from adaswitch.data.token_texts import bound
from adaswitch.errors import ConfigError, DataError
from adaswitch.tasks.base import Example, Task


@dataclass(frozen=True)
class RunData:
    """A run's task and its data, which were read, tokenized and checked to fit."""

    task: Task
    models: RunModels
    train_prompts: list[tuple[int, ...]]
    train_references: list[tuple[int, ...]]
    """The data set's own completions, one for each prompt. Empty if the policy does not train on them."""
    eval_examples: list[Example]
    eval_prompts: list[tuple[int, ...]]
    notes: list[str]
    """Lines for people, to be printed once: what was left out or cut, and what the chat template makes nothing of."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of both models."""
        return self.models.tokenizer

    def lines(self) -> list[str]:
        """What to tell people, once: what ends a completion, what was set right, and the notes."""
        return [*self.models.lines(), *(f"note: {note}" for note in self.notes)]


def load_run_data(
    config: RunConfig, examples: RunExamples | None = None, teacher_stop_token_ids: Sequence[int] = ()
) -> RunData:
    """The data of ``config``. Raises ``UserError`` if a model, a file, a record or a length does not fit.

    ``examples`` are the run's, if they were read already. ``teacher_stop_token_ids`` are those of a teacher elsewhere,
    if it was asked.
    """
    _check_kinds(config)
    models = read_run_models(config, teacher_stop_token_ids)
    tokenizer = models.tokenizer
    config.task.check(config.student.max_new_tokens if config.trainer.eval_every else None)
    task = config.task.ready()
    _check_candidates(config, models.vocab_size)
    bound(config.policy, tokenizer, models.vocab_size)
    read, budget = examples or read_run_examples(config), config.student.max_new_tokens
    train = fit_prompts(tokenizer, task, read.train, training_limits(config), budget)
    references = _references(config, models, task, train.examples)
    by_students = config.trainer.eval_by == "students"
    limits = training_limits(config) if by_students else [_student_limit(config)]
    held_out = fit_prompts(tokenizer, task, read.held_out, limits, budget)
    models.check_texts("prompt", train.examples, train.prompts)
    models.check_texts("reference", train.examples[: len(references)], references)
    models.check_texts("prompt", held_out.examples, held_out.prompts)
    notes = template_notes(tokenizer, task, train.examples) + _note_on_cut(references, budget)
    notes += train.note("training prompts") + held_out.note("held-out prompts")
    for what, of, token_ids in (
        ("training prompts", train.examples, train.prompts),
        ("training references", train.examples[: len(references)], references),
        ("held-out prompts", held_out.examples, held_out.prompts),
    ):
        notes += _note_on_unknown(tokenizer, what, of, token_ids)
    return RunData(task, models, train.prompts, references, held_out.examples, held_out.prompts, notes)


def _check_kinds(config: RunConfig) -> None:
    """Raises ``ModelError`` for a student, or a teacher in a local folder, of a kind that cannot be had here."""
    check_student_model(config.student.model)
    serve = config.teacher.serve
    if serve is not None and os.path.isdir(serve.model) and config.policy.needs_students:
        check_served_model(serve)


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
            f"{config.policy.accepted_setting} {accepted} accepts each of the tokenizer's {vocab_size} tokens: lower it"
        )


def _note_on_cut(references: Sequence[Sequence[int]], budget: int) -> list[str]:
    """A line on the references that are cut, from which a student does not learn to stop; none if all are whole."""
    too_long = [len(reference) for reference in references if len(reference) > budget]
    if not too_long:
        return []
    return [
        f"training references: {len(too_long):,} of {len(references):,} have more than student.max_new_tokens "
        f"{budget} tokens and are cut there, without the token that ends them: the longest has {max(too_long):,}"
    ]


def _note_on_unknown(
    tokenizer: PreTrainedTokenizerBase,
    what: str,
    examples: Sequence[Example],
    all_token_ids: Sequence[Sequence[int]],
) -> list[str]:
    """A line on texts in which the tokenizer writes its unknown token in place of what it cannot spell; or none."""
    unknown = tokenizer.unk_token_id
    if (
        unknown is None or unknown == tokenizer.eos_token_id
    ):  # GPT-2's is the end of sequence, and stands for no text
        return []
    places = [example.place for example, ids in zip(examples, all_token_ids, strict=True) if unknown in ids]
    if not places:
        return []
    return [
        f"{what}: {len(places):,} of {len(examples):,} hold text that the tokenizer has no token for, and "
        f"{tokenizer.unk_token!r} stands for it, as in {places[0]}"
    ]


def _references(
    config: RunConfig, models: RunModels, task: Task, examples: Sequence[Example]
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
    end = models.stop_tokens.end_of_reference(task.wraps_prompts)
    return [tuple(encode_reference(models.tokenizer, example, end)) for example in examples]
