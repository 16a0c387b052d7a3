"""The tasks, one in each file: prompts, and the rule by which an answer is marked. ← To add a task, add a file.

A task's settings stand together with its prompts and its marking; ``base.py`` says what else a task has. Every file
in this folder is found automatically, and a config can choose its class by its ``kind``.
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from adaswitch.registry.folder import rules_in
from adaswitch.tasks.base import Task

TASKS: tuple[type[Task], ...] = rules_in(__name__, Task)  # type: ignore[type-abstract]
"""All tasks of this folder."""

if TYPE_CHECKING:
    AnyTask = Task
else:
    AnyTask = Annotated[Union[TASKS], Field(discriminator="kind")]  # noqa: UP007 - the members are a tuple
"""The settings of any task. ``kind`` says which task they belong to."""
