"""The cores that a process may use, in containers of both kinds of control groups."""

import os
from pathlib import Path

import pytest

from adaswitch.processes.cores import num_cores, wait_without_spinning
from adaswitch.processes.entry import one_line_errors


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def machine(root: Path, groups: str, **files: str) -> Path:
    """A machine whose process is in ``groups``. The names of ``files`` have ``__`` in place of slashes and dots."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        *folders, base = name.split("__")
        path = root / "sys/fs/cgroup" / "/".join(folders) / base
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name.replace("cpu_", "cpu.", 1)).write_text(text)
    return root


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert num_cores(tmp_path) == 8


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("350000 100000", 3),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("gibberish", 8),
        ("", 8),
        ("100000 0", 8),
    ],
)
def test_a_container_of_version_2_has_its_limit_at_the_root(tmp_path: Path, limit: str, cores: int) -> None:
    assert num_cores(machine(tmp_path, "0::/\n", cpu_max=limit)) == cores


def test_the_lowest_limit_of_all_groups_above_counts(tmp_path: Path) -> None:
    files = {"slice__cpu_max": "300000 100000", "slice__job__cpu_max": "max 100000"}
    assert num_cores(machine(tmp_path, "0::/slice/job\n", **files)) == 3


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("250000", 2), ("1000", 1)])
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_a_container_of_version_1_need_not_see_its_own_path(
    tmp_path: Path, quota: str, cores: int, controllers: str
) -> None:
    groups = f"9:cpuset:/docker/abc\n4:{controllers}:/docker/abc\n0::/\n"
    files = {"cpu__cpu_cfs_quota_us": quota, "cpu__cpu_cfs_period_us": "100000"}
    assert num_cores(machine(tmp_path, groups, **files)) == cores


def test_threads_of_every_program_sleep_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that it is put back after the test
    monkeypatch.delenv("OMP_WAIT_POLICY")
    with one_line_errors():
        assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_a_users_own_way_of_waiting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == "active"


def test_where_there_is_no_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores(tmp_path) == 1
