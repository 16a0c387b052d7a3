"""The tasks: a file each, with its prompts and the rule by which an answer is marked.

To add one: a file here, its settings in ``adaswitch/config/tasks.py``, a branch in ``make_task``, and, unless
it is a ``RecordTask`` on a data file, one in ``adaswitch.io.datasets.load_examples``.
"""

from adaswitch.config import Gsm8kTaskConfig, JsonlTaskConfig, TaskConfig
from adaswitch.tasks.base import Example, RecordTask, Task
from adaswitch.tasks.chain import ChainTask, chain_examples
from adaswitch.tasks.gsm8k import Gsm8kTask
from adaswitch.tasks.jsonl import JsonlTask

__all__ = [
    "ChainTask",
    "Example",
    "Gsm8kTask",
    "JsonlTask",
    "RecordTask",
    "Task",
    "chain_examples",
    "make_record_task",
    "make_task",
]


def make_task(settings: TaskConfig) -> Task:
    """The task that ``settings`` describe. Raises ``ConfigError`` for a setting that cannot be used."""
    if isinstance(settings, Gsm8kTaskConfig | JsonlTaskConfig):
        return make_record_task(settings)
    return ChainTask()


def make_record_task(settings: Gsm8kTaskConfig | JsonlTaskConfig) -> RecordTask:
    """As ``make_task``, for the tasks whose examples are records of a data file or data set."""
    if isinstance(settings, Gsm8kTaskConfig):
        return Gsm8kTask(settings.chat_template, settings.prompt_suffix)
    return JsonlTask(
        settings.prompt_field, settings.reference_field, settings.chat_template, settings.answer_regex
    )
