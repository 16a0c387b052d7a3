"""Everything that is checked before a run starts anything, for all programs that start runs or parts of them.

``check_run`` goes from cheap to dear. Settings, folders, ports, the teacher's address and the records come first,
within a second or two. Only then come the tokenizers and the lengths of all prompts, which need transformers.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from adaswitch.config.run import RunConfig, check_rules
from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.fingerprint import require_same_tokenizer, tokenizer_sha256
from adaswitch.data.model_folder import STUDENT, TEACHER
from adaswitch.data.run_examples import RunExamples, all_files_are_here, read_run_examples
from adaswitch.errors import EnvironmentProblem, ModelError
from adaswitch.preflight.folders import ModelFiles, check_pair, read_model_files
from adaswitch.preflight.lengths import check_longest, check_micro_batch, check_prompts
from adaswitch.preflight.machine import (
    check_devices,
    check_engine,
    check_runs_dir,
    check_teacher_address,
    check_torch_device,
)
from adaswitch.preflight.switching import check_switching
from adaswitch.preflight.trackers import check_trackers
from adaswitch.preflight.training import check_training
from adaswitch.runs.inputs import inputs_of, require_same_inputs
from adaswitch.runs.words import run_of
from adaswitch.teachers.first_look import Seen, look_at_teacher

if TYPE_CHECKING:
    from adaswitch.data.preflight import RunData

Say = Callable[[str], None]


class Starts(StrEnum):
    """What a program is about to start, and so what it has to check."""

    WHOLE_RUN = "whole run"
    """Teacher, Ray, students and trainer on this machine."""
    ONE_PROCESS = "one process"
    """Teacher, student and trainer in this process."""
    TRAINER = "trainer"
    """The trainer alone. The teacher is a service elsewhere."""
    STUDENTS = "students"
    """The students of a run alone. They read no data, but data that is there is looked at."""


def check_run(config: RunConfig, starts: Starts, say: Say) -> "RunData":
    """Raises ``UserError`` or ``TeacherError`` for the first thing that would keep the run from its end.

    ``say`` gets a line if the teacher is one that is waited for. Nothing is started, and nothing is written. Returns
    the run's data. For students alone there is ``check_students``.
    """
    return last_checks(config, starts, first_checks(config, starts, say))


def check_students(config: RunConfig, say: Say) -> None:
    """The same as ``check_run``, for a program that starts a run's students alone and so reads no data."""
    found = first_checks(config, Starts.STUDENTS, say)
    _require_tokenizer_of(found.teacher, config.student.model)


@dataclass(frozen=True)
class Found:
    """What the first checks of a run have found, for the last ones."""

    teacher: Seen | None
    """The teacher elsewhere, if there is one and it answers."""
    examples: RunExamples | None
    """The run's examples; None if only students are started and the data is not on this machine."""


def first_checks(config: RunConfig, starts: Starts, say: Say) -> Found:
    """The cheap half of ``check_run``: everything that needs neither torch nor transformers."""
    trains, everything_here = starts is not Starts.STUDENTS, starts in (Starts.WHOLE_RUN, Starts.ONE_PROCESS)
    check_devices(config, trainer=trains, students=everything_here)
    if starts is Starts.WHOLE_RUN and config.policy.needs_students:
        check_engine("student.engine", config.student.engine)
    if trains:
        check_runs_dir(config)
        check_trackers(config)
    _require_warm_start(config)
    student = read_model_files(config.student.model, STUDENT)
    check_longest(config, student, None)
    if trains:
        check_rules(config)
    else:
        config.policy.check()
    check_switching(config)
    seen = None
    if (serve := _served_here(config, starts)) is not None:
        _check_served(config, serve, student, with_port=starts is Starts.WHOLE_RUN)
    elif config.policy.needs_students:
        seen = look_at_teacher(config.teacher, say)
    return Found(seen, read_run_examples(config) if trains else _examples_here(config))


def _require_warm_start(config: RunConfig) -> None:
    """Raises ``ModelError`` for a student that is still to be made."""
    if config.warm_start is not None and not os.path.lexists(config.student.model):
        raise ModelError(
            f"{STUDENT}: there is no folder {config.student.model!r} yet: make it first, with `adaswitch sft` and the "
            f"same --config, which fine-tunes {config.warm_start.model}"
        )


def _examples_here(config: RunConfig) -> RunExamples | None:
    """The run's examples, as far as students can look at them: None without the files, or without their reader."""
    if not all_files_are_here(config):
        return None
    try:
        return read_run_examples(config)
    except EnvironmentProblem:  # such as no package for Parquet, which students do without
        return None


def _served_here(config: RunConfig, starts: Starts) -> TeacherServiceConfig | None:
    """The teacher that is to be served by what is started; None if there is none, or if it is elsewhere."""
    if not config.policy.needs_students or starts in (Starts.TRAINER, Starts.STUDENTS):
        return None
    return config.teacher.serve


def _check_served(
    config: RunConfig, serve: TeacherServiceConfig, student: ModelFiles, *, with_port: bool
) -> None:
    check_engine("teacher.serve.engine", serve.engine)
    if with_port:
        check_teacher_address(serve)
    if serve.draft_model is not None:
        read_model_files(serve.draft_model, "teacher.serve.speculative")
    teacher = read_model_files(serve.model, TEACHER)
    check_longest(config, student, teacher)
    check_pair(student, teacher, TEACHER)


def last_checks(config: RunConfig, starts: Starts, found: Found) -> "RunData":
    """The dear half of ``check_run``, which needs torch and transformers."""
    seen = found.teacher
    check_torch_device("trainer.device", config.trainer.device)
    one_process = starts is Starts.ONE_PROCESS
    check_training(config.student.model, config.trainer, in_one_process=one_process)
    from adaswitch.data.preflight import load_run_data
    from adaswitch.teachers.ends import teacher_stop_token_ids

    ends, note = teacher_stop_token_ids(config)
    data = load_run_data(config, found.examples, ends)
    if note is not None:
        data.notes.append(note)
    own = tokenizer_sha256(data.tokenizer.get_vocab())
    serve = _served_here(config, starts)
    # A local folder's tokenizer was compared when the data was loaded.
    if serve is not None and not os.path.isdir(serve.model):
        from adaswitch.data.models import load_tokenizer

        theirs = tokenizer_sha256(load_tokenizer(serve.model, TEACHER).get_vocab())
        require_same_tokenizer(f"{TEACHER}: {serve.model!r}", theirs, config.student.model, own)
    elif seen is not None:
        if seen.tokenizer_sha256 is not None:
            require_same_tokenizer(_named(seen), seen.tokenizer_sha256, config.student.model, own)
        check_prompts(data.train_prompts, config.student.max_new_tokens, seen)
    check_micro_batch(data.train_prompts, config.student.max_new_tokens, config.trainer.micro_batch_tokens)
    require_same_inputs(run_of(config), inputs_of(config, data))
    return data


def _require_tokenizer_of(seen: Seen | None, student: str) -> None:
    """Raises ``ModelError`` if the teacher that was seen has another tokenizer than the folder ``student``."""
    if seen is None or seen.tokenizer_sha256 is None:
        return
    files = read_model_files(student, STUDENT)
    if tokenizer_sha256(files.vocabulary) == seen.tokenizer_sha256:
        return
    # tokenizer.json alone is not the whole of every tokenizer. Only a difference is worth the import.
    from adaswitch.data.models import load_tokenizer

    own = tokenizer_sha256(load_tokenizer(student, STUDENT).get_vocab())
    require_same_tokenizer(_named(seen), seen.tokenizer_sha256, student, own)


def _named(seen: Seen) -> str:
    return f"teacher.url: {seen.model!r} at {seen.url}"
