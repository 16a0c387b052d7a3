"""The CPU cores that this process may use, and the threads that it uses them with.

In a container or a batch job, a process may use fewer cores than the machine has.
"""

import os
from collections.abc import Iterator
from pathlib import Path


def num_cores(root: Path = Path("/")) -> int:
    """The number of cores, at least 1. Affinity, as of ``taskset``, and the CPU limits of control groups count.

    ``root`` is where ``/proc`` and ``/sys`` are.
    """
    shares = [share for folder in _control_groups(root) if (share := _limit(folder)) is not None]
    return max(1, int(min([_in_affinity(), *shares])))


def wait_without_spinning() -> None:
    """Let threads sleep while they wait for each other, unless the user has decided otherwise.

    By default OpenMP's threads wait busily. If another process has the core of one of them, such as another part of the
    same run, the others waste theirs. OpenMP reads the variable when torch is imported, so this comes before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def compute_with(num_threads: int) -> None:
    """Let torch compute with ``num_threads`` in this process from here on.

    All parts of a run set their threads here, before they load a model.
    """
    import torch

    torch.set_num_threads(num_threads)


def _in_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _control_groups(root: Path) -> Iterator[Path]:
    """The folders of this process's control group for CPUs, and of all groups above it, of both versions.

    A container sees only its own part of the tree, so folders may be missing.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mount = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            mount = root / "sys/fs/cgroup/cpu"
        else:
            continue
        group = mount / path.lstrip("/")
        yield from (each for each in (group, *group.parents) if each.is_relative_to(mount))


def _limit(folder: Path) -> float | None:
    """The number of cores that a control group may use, which need not be whole; None without a limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or no limit, which is written as ``max``
        return None
