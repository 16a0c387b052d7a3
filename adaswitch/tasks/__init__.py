"""The tasks: a file each, with its prompts and the rule by which an answer is marked.

To add one: a file here, its settings in ``adaswitch/config/tasks.py``, a branch in ``make_task``, and, unless
it is a ``RecordTask`` on a data file, one in ``adaswitch.data.datasets.load_examples``.
"""

from adaswitch.config import (
    ChainTaskConfig,
    DialogsumTaskConfig,
    Gsm8kTaskConfig,
    GsmPlusTaskConfig,
    RecordTaskConfig,
    TaskConfig,
)
from adaswitch.tasks.base import Example, Marks, RecordTask, Task
from adaswitch.tasks.chain import ChainTask, chain_examples
from adaswitch.tasks.dialogsum import DialogsumTask
from adaswitch.tasks.gsm8k import Gsm8kTask
from adaswitch.tasks.gsm_plus import GsmPlusTask
from adaswitch.tasks.jsonl import JsonlTask

__all__ = [
    "ChainTask",
    "DialogsumTask",
    "Example",
    "Gsm8kTask",
    "GsmPlusTask",
    "JsonlTask",
    "Marks",
    "RecordTask",
    "Task",
    "chain_examples",
    "make_record_task",
    "make_task",
]


def make_task(settings: TaskConfig) -> Task:
    """The task that ``settings`` describe. Raises ``ConfigError`` for a setting that cannot be used."""
    return ChainTask() if isinstance(settings, ChainTaskConfig) else make_record_task(settings)


def make_record_task(settings: RecordTaskConfig) -> RecordTask:
    """As ``make_task``, for the tasks whose examples are records of a data file or data set."""
    if isinstance(settings, Gsm8kTaskConfig):
        return Gsm8kTask(settings.chat_template, settings.prompt_suffix)
    if isinstance(settings, GsmPlusTaskConfig):
        return GsmPlusTask(settings.chat_template, settings.prompt_suffix)
    if isinstance(settings, DialogsumTaskConfig):
        return DialogsumTask(settings.chat_template, settings.prompt_prefix, settings.prompt_suffix)
    return JsonlTask(
        settings.prompt_field,
        settings.reference_field,
        settings.chat_template,
        settings.answer_regex,
        settings.metric,
    )
