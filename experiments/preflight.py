"""Finds what is wrong with a comparison before its first cell starts.

The checks cover models, data, lengths and recorded runs, of all cells and of their evaluations. Each error names the
method, and the evaluation if it is about one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig, check_rules
from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.data.models import load_tokenizer
from adaswitch.data.preflight import load_run_data
from adaswitch.errors import ConfigError, ModelError, UserError
from adaswitch.evaluation.command import load_prompts
from adaswitch.evaluation.request import EvalRequest
from adaswitch.method.policies.replay import Replay
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.recorded import resolve_config
from experiments.engines import LocalEngine
from experiments.one_process import require_one_process
from experiments.plan import Cell, FinalEvaluation, Plan
from experiments.runner import is_complete
from experiments.work import Evaluating, Training, source_of
from services.teacher.engines.model_folder import read_model_folder


def require_data(plan: Plan, cells: Sequence[Cell], local: LocalEngine | None = None) -> None:
    """Raises ``UserError`` for the first model, file, record, length or recorded run that does not fit.

    Cells and evaluations that are complete are left out, and files that several cells share are read once. ``local``
    is the teacher's engine if the cells run without services, else None.
    """
    incomplete = [cell for cell in cells if not is_complete(Training(cell))]
    seen: set[str] = set()
    for cell in incomplete:
        with _naming(f"method {cell.method}"):
            if local is not None:
                require_one_process(cell.config)
            check_rules(cell.config)
            _require_source(cell, incomplete)
            if _is_new(_what_is_read(cell.config), seen):
                _require_models_and_data(cell.config)
    for cell in cells:
        for label, settings in plan.evaluations.items():
            key = f"{label} {cell.config.task} {cell.config.student} {cell.config.trainer.eval_prompts}"
            if not is_complete(Evaluating(cell, label, settings)) and _is_new(key, seen):
                with _naming(f"method {cell.method}: evaluations.{label}"):
                    _require_evaluation(cell.config, settings)


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
    kind = (policy.needs_reference, policy.accepted_candidates, isinstance(policy, Replay))
    held_out = (trainer.eval_every > 0, trainer.eval_prompts)
    return f"{config.task} {config.student} {config.teacher.serve} {kind} {held_out}"


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
    if not source.config.trainer.save_rollouts:
        raise ConfigError(
            f"{setting}: method {source.method} keeps no rollouts: leave its trainer.save_rollouts at true"
        )


def _require_models_and_data(config: RunConfig) -> None:
    """Raises ``UserError`` if the data, the student, and the teacher that is to be served do not fit each other."""
    serve, student = config.teacher.serve, config.student.model
    if serve is None or isinstance(config.policy, Replay):
        load_run_data(config)
        return
    with _naming("teacher.serve", separator="."):
        facts = read_model_folder(serve)
    # If the settings name no longest sequence, it is the model's own.
    served = config.teacher.model_copy(
        update={"serve": serve.model_copy(update={"max_model_len": facts.max_model_len})}
    )
    tokenizer = load_run_data(config.model_copy(update={"teacher": served})).tokenizer
    _require_tokenizer(f"teacher.serve.model: {serve.model!r}", facts.tokenizer_sha256, student, tokenizer)


def _require_evaluation(config: RunConfig, settings: FinalEvaluation) -> None:
    """Raises ``UserError`` for held-out data or a teacher that the evaluation could not use."""
    if not config.task.has_held_out:
        raise ConfigError("task.eval: there is no held-out data: name it in the plan's settings")
    limit = config.trainer.eval_prompts if settings.limit is None else settings.limit
    student, budget = config.student.model, config.student.max_new_tokens
    teacher, budget_setting = settings.teacher, "student.max_new_tokens"
    if teacher is not None:
        sha256 = tokenizer_sha256(load_tokenizer(teacher, "teacher").get_vocab())
        _require_tokenizer(f"teacher: {teacher!r}", sha256, student, load_tokenizer(student))
    load_prompts(
        EvalRequest(student, config.task, limit, budget, teacher=teacher, budget_setting=budget_setting)
    )


def _require_tokenizer(teacher: str, sha256: str, student: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ``ModelError`` unless ``sha256``, of the teacher's tokenizer, is that of the student's ``tokenizer``."""
    own = tokenizer_sha256(tokenizer.get_vocab())
    if sha256 != own:
        raise ModelError(
            f"{teacher} and the student {student!r} have different tokenizers ({sha256[:12]} and {own[:12]}): "
            "token ids would not mean the same; take a pair of one model family"
        )
