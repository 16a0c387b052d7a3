"""Which tests run in one process where ``pytest -n`` has several, for they share what they start; and which first."""

from pathlib import PurePosixPath

import pytest
from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    # One cluster, which is started once.
    "shared_cluster": (
        "test_cluster_policies.py",
        "test_cluster_run.py",
        "test_kills.py",
        "test_own_rules.py",
    ),
    # Each of their runs starts a cluster of its own: one after the other, for several would be slow together.
    "own_clusters": (
        "test_compare_served.py",
        "test_demo.py",
        "test_local_run.py",
        "test_scaling.py",
    ),
    # One browser, which is started once.
    "browser": ("test_run_page.py", "test_methods_page.py"),
    # The second ends the service that the first has used.
    "demo_teacher": ("test_openai_teacher.py", "test_teacher_engine_death.py"),
}
"""Files that are one group; any other file is a group of its own."""

FIRST = ("shared_cluster", "own_clusters")
"""The groups that take longest: whatever else there is fits in beside them."""


def group_of(test: str) -> str:
    """The group of a test by its id."""
    file = test.partition("::")[0]
    name = PurePosixPath(file).name
    return next((group for group, files in GROUPS.items() if name in files), file)


def is_late(test: str) -> bool:
    """Whether a test can wait for those that take longest; a key to sort by."""
    return group_of(test) not in FIRST


class SharedScheduling(LoadScopeScheduling):
    """Hands out groups, in the order of their first tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def make_scheduler(config: pytest.Config, log: object) -> SharedScheduling | None:
    """In place of ``--dist loadfile``."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return SharedScheduling(config, log)
