"""Checks of lengths that need no prompt: those that no prompt could ever fit."""

from collections.abc import Sequence

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, ModelError
from adaswitch.preflight.folders import ModelFiles
from adaswitch.teachers.first_look import Seen


def check_longest(config: RunConfig, student: ModelFiles, teacher: ModelFiles | None) -> None:
    """Raises ``ModelError`` if a model takes no prompt beside a whole completion, or less than its service is to take.

    ``teacher`` is the teacher that is to be served, if one is.
    """
    budget = config.student.max_new_tokens
    _require_room(budget, student.max_positions, f"the student {student.folder!r}")
    if teacher is None or config.teacher.serve is None:
        return
    longest = config.teacher.serve.max_model_len
    if longest is None:
        _require_room(budget, teacher.max_positions, f"the teacher {teacher.folder!r}")
        return
    if teacher.max_positions is not None and longest > teacher.max_positions:
        raise ModelError(
            f"teacher.serve.max_model_len: {longest} is more than the {teacher.max_positions} of {teacher.folder!r}"
        )
    _require_room(budget, longest, "the teacher (teacher.serve.max_model_len)")


def check_micro_batch(prompts: Sequence[Sequence[int]], budget: int, max_tokens: int | None) -> None:
    """Raises ``ConfigError`` if a prompt with ``budget`` new tokens does not fit in a micro-batch of ``max_tokens``."""
    longest = max(map(len, prompts), default=1) + budget
    if max_tokens is not None and longest > max_tokens:
        raise ConfigError(
            f"trainer.micro_batch_tokens: {max_tokens} tokens are fewer than the {longest} of the longest prompt and "
            f"student.max_new_tokens {budget}: set it to {longest} or more, or lower student.max_new_tokens"
        )


def check_prompts(prompts: Sequence[Sequence[int]], budget: int, teacher: Seen) -> None:
    """Raises ``ModelError`` if a prompt with ``budget`` new tokens is more than the teacher elsewhere takes.

    Such prompts are not left out, whatever the task says of prompts that are too long: which prompts a run has must not
    depend on whether a teacher answered at its start.
    """
    longest = max(map(len, prompts), default=0)
    if teacher.max_model_len is not None and longest + budget > teacher.max_model_len:
        raise ModelError(
            f"teacher.url: the longest prompt has {longest} tokens; with student.max_new_tokens {budget} that is more "
            f"than the {teacher.max_model_len} that {teacher.model!r} at {teacher.url} takes: lower it, or set "
            f"task.max_prompt_tokens to {max(teacher.max_model_len - budget, 1)}"
        )


def _require_room(budget: int, longest: int | None, whose: str) -> None:
    if longest is not None and budget + 1 > longest:
        raise ModelError(
            f"student.max_new_tokens: {budget} tokens after a prompt are more than the {longest} that {whose} takes: "
            "lower it"
        )
