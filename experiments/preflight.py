"""Finds what is wrong with a comparison before its first cell starts.

The checks cover models, data, lengths and recorded runs, of all cells and of their evaluations. Each error names the
method, and the evaluation if it is about one.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adaswitch.config.run import RunConfig, check_rules
from adaswitch.contract.fingerprint import require_same_tokenizer, tokenizer_sha256
from adaswitch.errors import ConfigError, UserError
from adaswitch.evaluation.request import EvalRequest
from adaswitch.method.policies.random_switch import RandomSwitch
from adaswitch.method.policies.replay import Replay
from adaswitch.preflight import Found, Starts, first_checks, last_checks
from adaswitch.preflight.folders import read_model_files
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.recorded import resolve_config
from experiments.engines import LocalEngine
from experiments.one_process import require_one_process, with_teacher_on
from experiments.plan import Cell, FinalEvaluation, Plan
from experiments.runner import is_complete
from experiments.work import Evaluating, Training, source_of

if TYPE_CHECKING:
    pass


def require_data(plan: Plan, cells: Sequence[Cell], local: LocalEngine | None = None) -> None:
    """Raises ``UserError`` for the first model, file, record, length or recorded run that does not fit.

    Cells and evaluations that are complete are left out, and files that several cells share are read once. ``local``
    is the teacher's engine if the cells run without services, else None.
    """
    incomplete = [cell for cell in cells if not is_complete(Training(cell))]
    first: list[tuple[Cell, Found]] = []
    seen: set[str] = set()
    for cell in incomplete:
        with _naming(f"method {cell.method}"):
            if local is not None:
                require_one_process(cell.config)
            check_rules(cell.config)
            _require_source(cell, incomplete)
            if _is_new(_what_is_read(cell.config), seen):
                first.append((cell, first_checks(*_begun(cell.config, local), print)))
    evaluations = list(_evaluations(plan, cells))
    for cell, label, settings in evaluations:
        with _naming(f"method {cell.method}: evaluations.{label}"):
            _require_held_out(cell.config, settings)
    for cell, found in first:
        with _naming(f"method {cell.method}"):
            last_checks(*_begun(cell.config, local), found)
    for cell, label, settings in evaluations:
        with _naming(f"method {cell.method}: evaluations.{label}"):
            _require_evaluation(cell.config, settings)


def _begun(config: RunConfig, local: LocalEngine | None) -> tuple[RunConfig, Starts]:
    """The settings to check, and what is started by them."""
    if local is None:
        return config, Starts.WHOLE_RUN
    return with_teacher_on(config, local), Starts.ONE_PROCESS


def _evaluations(plan: Plan, cells: Sequence[Cell]) -> Iterator[tuple[Cell, str, FinalEvaluation]]:
    """The evaluations that are still to be made. Of those that read the same, only the first."""
    seen: set[str] = set()
    for cell in cells:
        for label, settings in plan.evaluations.items():
            key = f"{label} {cell.config.task} {cell.config.student} {cell.config.trainer.eval_prompts}"
            if not is_complete(Evaluating(cell, label, settings)) and _is_new(key, seen):
                yield cell, label, settings


@contextmanager
def _naming(whose: str, separator: str = ": ") -> Iterator[None]:
    """Put ``whose`` before the message of a ``UserError`` from the ``with`` block. The error keeps its type."""
    try:
        yield
    except UserError as error:
        error.args = (f"{whose}{separator}{error}",)
        raise


def _is_new(key: str, seen: set[str]) -> bool:
    """Whether ``key`` is not in ``seen`` yet. Adds ``key`` to ``seen``."""
    was_there = key in seen
    seen.add(key)
    return not was_there


def _what_is_read(config: RunConfig) -> str:
    """All settings that a cell's data, models and their checks depend on: equal settings need only one check."""
    policy, trainer = config.policy, config.trainer
    named = str(policy) if policy.needs_texts else ""
    kind = (policy.needs_reference, policy.accepted_candidates, named, policy.needs_students)
    held_out = (trainer.eval_every > 0, trainer.eval_prompts)
    return f"{config.task} {config.student} {config.teacher} {trainer.device} {kind} {held_out}"


def _require_source(cell: Cell, incomplete: Sequence[Cell]) -> None:
    """Raises ``UserError`` unless the run that the cell's policy reads exists, or another cell will make it."""
    source = source_of(cell.config)
    if source is None:
        return
    setting = "policy.run" if isinstance(cell.config.policy, Replay) else "policy.from_run"
    for other in incomplete:
        if other.folder.resolve() == source:
            _require_recording(setting, other, cell)
            return
    with _naming(setting):
        RunDirectory.open(source)
    resolve_config(cell.config)


def _require_recording(setting: str, source: Cell, cell: Cell) -> None:
    """Raises ``ConfigError`` if ``source``, once complete, will not have the rollouts that ``cell`` reads."""
    if source == cell:
        raise ConfigError(f"{setting}: {cell.folder} is this run itself: name another")
    keep, num_steps = source.config.trainer.save_rollouts, source.config.trainer.num_steps
    if not keep:
        raise ConfigError(
            f"{setting}: method {source.method} keeps no rollouts: leave its trainer.save_rollouts at true"
        )
    first = 0 if keep is True else max(0, num_steps - keep)
    if _first_step_read(cell.config) < first:
        raise ConfigError(
            f"{setting}: method {source.method} keeps the rollouts of its newest {keep} steps alone, from step {first} "
            "on: leave its trainer.save_rollouts at true"
        )


def _first_step_read(config: RunConfig) -> float:
    """The first step of the recorded run whose rollouts are needed; infinite if any will do."""
    match config.policy:
        case Replay():
            return 0
        case RandomSwitch(from_steps=[first, _]):
            return first
        case _:
            return math.inf


def _require_held_out(config: RunConfig, settings: FinalEvaluation) -> None:
    """Raises ``UserError`` without held-out data, and for a teacher's folder that is not whole."""
    if not config.task.has_held_out:
        raise ConfigError("task.eval: there is no held-out data: name it in the plan's settings")
    if settings.teacher is not None:
        read_model_files(settings.teacher, "teacher")


def _require_evaluation(config: RunConfig, settings: FinalEvaluation) -> None:
    """Raises ``UserError`` for held-out data or a teacher that the evaluation could not use."""
    from adaswitch.data.models import load_tokenizer
    from adaswitch.evaluation.command import load_prompts

    limit = config.trainer.eval_prompts if settings.limit is None else settings.limit
    student, budget = config.student.model, config.student.max_new_tokens
    teacher, budget_setting = settings.teacher, "student.max_new_tokens"
    if teacher is not None:
        theirs, own = load_tokenizer(teacher, "teacher"), load_tokenizer(student)
        their_sha, own_sha = (tokenizer_sha256(side.get_vocab()) for side in (theirs, own))
        require_same_tokenizer(f"teacher: {teacher!r}", their_sha, student, own_sha)
    load_prompts(
        EvalRequest(student, config.task, limit, budget, teacher=teacher, budget_setting=budget_setting)
    )
