"""A run's examples, read and checked before any tokenizer is loaded, so that a fault in a file is said in a second."""

import os
from dataclasses import dataclass

from adaswitch.config.run import RunConfig
from adaswitch.data.datasets import eval_examples, load_examples
from adaswitch.data.hub import check_hub_data
from adaswitch.data.record_files import find_files
from adaswitch.errors import DataError
from adaswitch.tasks.base import DataSource, Example, RecordTask


@dataclass(frozen=True)
class RunExamples:
    """The examples of a run, in the data's own order."""

    train: list[Example]
    held_out: list[Example]
    """At most ``trainer.eval_prompts``; empty if nothing is evaluated."""


def read_run_examples(config: RunConfig) -> RunExamples:
    """The examples of ``config``. Raises ``UserError`` if a file, a data set or a record cannot be used."""
    for name, source in _sources(config).items():
        if source.hub is not None:
            check_hub_data(source.hub, name)
    train = load_examples(config.task, "train")
    if config.trainer.eval_every == 0:
        return RunExamples(train, [])
    return RunExamples(train, eval_examples(config.task, config.trainer.eval_prompts))


def all_files_are_here(config: RunConfig) -> bool:
    """Whether all data is in files that exist on this machine, or is made by the task itself."""
    try:
        files = [
            file
            for source in _sources(config).values()
            for file in find_files(source.path if source.path is not None else f"hub:{source.hub}")
        ]
    except DataError:
        return False
    return all(map(os.path.exists, files))


def _sources(config: RunConfig) -> dict[str, DataSource]:
    """By the name of its setting: every source of records that the run reads."""
    task = config.task.ready()
    if not isinstance(task, RecordTask):
        return {}
    sources = {"task.train": task.train}
    if task.eval is not None and config.trainer.eval_every:
        sources["task.eval"] = task.eval
    return sources
