"""What a run directory keeps of what the run was begun with, so that it can be read anywhere and at any time.

The student's folder and the data may have moved since, and the settings may name them relative to the folder in which
the run was begun.
"""

import contextlib
import glob
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaswitch.config.run import RunConfig
from adaswitch.errors import ModelError
from adaswitch.runs.directory import RunDirectory
from adaswitch.storage import held, partial_of, sync_folder, sync_tree, writing
from adaswitch.tasks.base import DataSource, RecordTask, Task

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

TOKENIZER_FILE = "tokenizer_config.json"
"""The file that every saved tokenizer has."""


def tokenizer_folder(run: RunDirectory) -> Path:
    """Where a run keeps the student's tokenizer from its start on."""
    return run.path / "tokenizer"


def keep_tokenizer(
    run: RunDirectory, tokenizer: "PreTrainedTokenizerBase", config: "PreTrainedConfig"
) -> None:
    """Save the student's tokenizer in the run directory, either whole or not at all, unless it is there already.

    One that a run without any record has left may be another student's, and is replaced. ``config`` is the model's
    configuration, by which transformers finds the class of the tokenizer. Raises ``StorageError``.
    """
    folder = tokenizer_folder(run)
    if run.has_records() and (folder / TOKENIZER_FILE).is_file():
        return
    partial = partial_of(folder)
    with writing(folder):
        try:
            partial.mkdir()
            with held(partial):
                tokenizer.save_pretrained(partial)
                config.save_pretrained(partial)
                sync_tree(partial)
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(partial, folder)
            sync_folder(run.path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def load_kept_tokenizer(run: RunDirectory, config: RunConfig) -> "PreTrainedTokenizerBase":
    """The tokenizer of the run's newest checkpoint, or else the one that was kept at the run's start.

    A folder that cannot be read is passed over. A run of an older version has none before its first checkpoint; then it
    is that of the student's folder. Raises ``ModelError`` if that folder is not there either.
    """
    # Imported here, because transformers takes seconds to import.
    from adaswitch.data.models import load_tokenizer

    folders = [run.checkpoint(step) for step in reversed(run.checkpoint_steps())]
    for folder in (*folders, tokenizer_folder(run)):
        if (folder / TOKENIZER_FILE).is_file():
            with contextlib.suppress(ModelError):
                return load_tokenizer(str(folder), "the run's tokenizer")
    student = located(config.student.model, begun_in(run, config))
    try:
        return load_tokenizer(student)
    except ModelError as error:
        raise ModelError(f"{run.path} has no checkpoint and no tokenizer that can be read; {error}") from None


def begun_in(run: RunDirectory, config: RunConfig) -> Path:
    """The folder to which relative paths in the run's settings belong, as far as the run directory's own path tells."""
    below = Path(config.runs_dir, config.name)
    path = run.path.resolve()
    if below.is_absolute() or path.parts[-len(below.parts) :] != below.parts:
        return Path.cwd()
    return path.parents[len(below.parts) - 1]


def located(path: str, folder: Path) -> str:
    """``path``, or if nothing is there, what stands at that path in ``folder``. It may be a pattern."""
    there = str(folder / path)
    return there if not glob.glob(path, recursive=True) and glob.glob(there, recursive=True) else path


def with_located_data(task: Task, folder: Path) -> Task:
    """``task`` with the training data where it is found now, if its relative path belongs to ``folder``."""
    if not isinstance(task, RecordTask) or task.train.path is None:
        return task
    return task.model_copy(update={"train": _located_source(task.train, folder)})


def _located_source(source: DataSource, folder: Path) -> DataSource:
    path = source.path
    if isinstance(path, str):
        return source.model_copy(update={"path": located(path, folder)})
    paths: Sequence[str] = path or ()
    return source.model_copy(update={"path": [located(each, folder) for each in paths]})
