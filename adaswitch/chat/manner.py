"""How a model is asked: by the settings of its run if it has one, otherwise by its own chat template, or as plain text.

``runs/demo``, one of its checkpoints and its ``final/`` belong to the run ``runs/demo``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from adaswitch.config.run import RunConfig
from adaswitch.errors import DataError, UnmarkedError
from adaswitch.runs.chosen import choose_checkpoint
from adaswitch.runs.config_files import load_config
from adaswitch.runs.day import today, with_day
from adaswitch.runs.directory import CONFIG_FILE, RunDirectory
from adaswitch.tasks.base import Example, GeneratedTask, Marks, Split, Task
from adaswitch.tasks.chat import Chat

DEFAULT_NEW_TOKENS = 256


@dataclass(frozen=True)
class Located:
    """Where a model's folder is, and the run that it comes from, if it comes from one."""

    folder: str
    run: RunDirectory | None


def locate(model: str) -> Located:
    """The folder of ``model``: a run directory means its newest whole checkpoint, or its ``final/`` without any.

    Raises ``DataError`` for a run that has no model yet.
    """
    path = Path(model)
    if (path / CONFIG_FILE).is_file():
        run = RunDirectory(path)
        if not run.checkpoint_steps() and run.final.is_dir():
            return Located(str(run.final), run)
        return Located(str(choose_checkpoint(run).folder), run)
    return Located(model, _run_of_folder(path))


def _run_of_folder(path: Path) -> RunDirectory | None:
    """The run that the folder ``path`` is a checkpoint of, or the final model; None for any other folder."""
    whole = path.resolve()
    above = whole.parents[1:2] if whole.parent.name == "checkpoints" else whole.parents[:1]
    is_part = whole.parent.name == "checkpoints" or whole.name == "final"
    return next((RunDirectory(run) for run in above if is_part and (run / CONFIG_FILE).is_file()), None)


@dataclass(frozen=True)
class Manner:
    """How a model is asked, and when its answer is over."""

    task: Task
    stop_token_ids: list[int] | None
    """The tokens that end an answer; None for those that the model's folder names."""
    max_new_tokens: int
    words: str
    """In words for people, whose way of asking it is."""


def manner_of(located: Located, config: Path | None, tokenizer: PreTrainedTokenizerBase) -> Manner:
    """How to ask the model at ``located``: by the file ``config`` if it is given, else by its run.

    Raises ``UserError`` if these settings cannot be read, or name code of a user's own that cannot be.
    """
    settings, source = _settings(located, config)
    if settings is None:
        wraps = tokenizer.chat_template is not None
        how = "in its chat template" if wraps else "as plain text, since it has no chat template"
        return Manner(_Talk(chat_template=wraps), None, DEFAULT_NEW_TOKENS, f"asked {how}")
    task = with_day(settings.task, None).ready()
    how = "in its chat template" if task.wraps_prompts else "as plain text"
    student = settings.student
    return Manner(task, student.stop_token_ids, student.max_new_tokens, f"asked {how}, as {source} says")


def _settings(located: Located, config: Path | None) -> tuple[RunConfig | None, str]:
    if config is not None:
        return load_config(config), str(config)
    if located.run is None:
        return None, ""
    try:
        return located.run.settings(), str(located.run.path / CONFIG_FILE)
    except DataError as error:
        raise DataError(f"{error.message} (or say how to ask with --config)", source=error.source) from None


class _Talk(GeneratedTask):
    """The task of a model that comes from no run: nothing is put around what is asked."""

    kind: Literal["talk"] = "talk"
    chat_template: bool
    """Whether the tokenizer's chat template wraps what is asked."""

    @property
    def chat(self) -> Chat:
        """See ``Task``: a template that writes a date gets this day's."""
        return Chat(date=today())

    def examples(self, split: Split) -> list[Example]:
        """No prompts: they are typed."""
        return []

    def mark(self, completion: str, example: Example) -> Marks:
        """Raises ``UnmarkedError``: nobody knows the right answer."""
        raise UnmarkedError("there is no reference")
