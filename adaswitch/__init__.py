"""AdaSwitch: adaptive-switching knowledge distillation of language models (arXiv 2510.07842), as a library.

The names in ``__all__`` are the public ones; ``docs/library.md`` says what each is for. They are imported when they are
first used, so that ``import adaswitch`` takes neither torch nor any other library that loads slowly.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from adaswitch.version import __version__

if TYPE_CHECKING:
    from adaswitch.config.base import Settings as Settings
    from adaswitch.config.parsing import parse_config as parse_config
    from adaswitch.config.run import RunConfig as RunConfig
    from adaswitch.config.teacher import TeacherConfig as TeacherConfig
    from adaswitch.errors import AdaSwitchError as AdaSwitchError
    from adaswitch.errors import DataError as DataError
    from adaswitch.errors import UnmarkedError as UnmarkedError
    from adaswitch.errors import UserError as UserError
    from adaswitch.method.distribution import TopK as TopK
    from adaswitch.method.divergence import forward_kl as forward_kl
    from adaswitch.method.divergence import jsd as jsd
    from adaswitch.method.divergence import reverse_kl as reverse_kl
    from adaswitch.method.losses.base import DivergenceLoss as DivergenceLoss
    from adaswitch.method.losses.base import Loss as Loss
    from adaswitch.method.losses.cross_entropy import CrossEntropy as CrossEntropy
    from adaswitch.method.losses.forward_kl import ForwardKL as ForwardKL
    from adaswitch.method.losses.jsd import JSD as JSD
    from adaswitch.method.losses.reverse_kl import ReverseKL as ReverseKL
    from adaswitch.method.policies.adaswitch import AdaSwitch as AdaSwitch
    from adaswitch.method.policies.base import Policy as Policy
    from adaswitch.method.policies.off_policy import OffPolicy as OffPolicy
    from adaswitch.method.policies.on_policy import OnPolicy as OnPolicy
    from adaswitch.method.policies.skd import SKD as SKD
    from adaswitch.method.prompt import Prompt as Prompt
    from adaswitch.method.roles import Budget as Budget
    from adaswitch.method.roll_out import roll_out as roll_out
    from adaswitch.method.rollout import Rollout as Rollout
    from adaswitch.method.stages import Stages as Stages
    from adaswitch.method.switching import AdaptiveThreshold as AdaptiveThreshold
    from adaswitch.method.switching import FixedThreshold as FixedThreshold
    from adaswitch.method.switching import SwitchRule as SwitchRule
    from adaswitch.method.switching import TokenRule as TokenRule
    from adaswitch.runs.config_files import load_config as load_config
    from adaswitch.tasks.base import ChatTask as ChatTask
    from adaswitch.tasks.base import DataSource as DataSource
    from adaswitch.tasks.base import Example as Example
    from adaswitch.tasks.base import GeneratedTask as GeneratedTask
    from adaswitch.tasks.base import RecordTask as RecordTask
    from adaswitch.tasks.base import Task as Task
    from adaswitch.teachers import connect_teacher as connect_teacher
    from adaswitch.teachers.native import TeacherClient as TeacherClient
    from experiments.library import LocalResult as LocalResult
    from experiments.library import run_locally as run_locally


_WHERE = {
    # a run
    "load_config": "adaswitch.runs.config_files",
    "parse_config": "adaswitch.config.parsing",
    "RunConfig": "adaswitch.config.run",
    "run_locally": "experiments.library",
    "LocalResult": "experiments.library",
    # policies and switch rules
    "Policy": "adaswitch.method.policies.base",
    "Stages": "adaswitch.method.stages",
    "SwitchRule": "adaswitch.method.switching",
    "AdaptiveThreshold": "adaswitch.method.switching",
    "FixedThreshold": "adaswitch.method.switching",
    "TokenRule": "adaswitch.method.switching",
    "AdaSwitch": "adaswitch.method.policies.adaswitch",
    "OnPolicy": "adaswitch.method.policies.on_policy",
    "OffPolicy": "adaswitch.method.policies.off_policy",
    "SKD": "adaswitch.method.policies.skd",
    "roll_out": "adaswitch.method.roll_out",
    # what a rollout is made of
    "Rollout": "adaswitch.method.rollout",
    "Prompt": "adaswitch.method.prompt",
    "Budget": "adaswitch.method.roles",
    "TopK": "adaswitch.method.distribution",
    # losses and divergences
    "Loss": "adaswitch.method.losses.base",
    "DivergenceLoss": "adaswitch.method.losses.base",
    "ForwardKL": "adaswitch.method.losses.forward_kl",
    "ReverseKL": "adaswitch.method.losses.reverse_kl",
    "JSD": "adaswitch.method.losses.jsd",
    "CrossEntropy": "adaswitch.method.losses.cross_entropy",
    "forward_kl": "adaswitch.method.divergence",
    "reverse_kl": "adaswitch.method.divergence",
    "jsd": "adaswitch.method.divergence",
    # tasks
    "Task": "adaswitch.tasks.base",
    "GeneratedTask": "adaswitch.tasks.base",
    "RecordTask": "adaswitch.tasks.base",
    "ChatTask": "adaswitch.tasks.base",
    "DataSource": "adaswitch.tasks.base",
    "Example": "adaswitch.tasks.base",
    # the teacher's client
    "connect_teacher": "adaswitch.teachers",
    "TeacherClient": "adaswitch.teachers.native",
    "TeacherConfig": "adaswitch.config.teacher",
    # what all settings and all errors share
    "Settings": "adaswitch.config.base",
    "AdaSwitchError": "adaswitch.errors",
    "UserError": "adaswitch.errors",
    "DataError": "adaswitch.errors",
    "UnmarkedError": "adaswitch.errors",
}
"""Every public name, and the module that it is imported from."""

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> object:
    """A public name, imported now."""
    if name not in _WHERE:
        raise AttributeError(
            f"module 'adaswitch' has no attribute {name!r}; the public names are in adaswitch.__all__"
        )
    found: object = getattr(import_module(_WHERE[name]), name)
    return found


def __dir__() -> list[str]:
    """The public names, also those that have not been imported yet."""
    return sorted({*globals(), *__all__})
