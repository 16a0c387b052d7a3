"""Ending the processes that this one started."""

import psutil

GRACE_S = 3.0


def end_descendants() -> None:
    """Terminate every child of this process and theirs, and kill those that do not go."""
    children = [child for child in psutil.Process().children(recursive=True) if not _cleans_up(child)]
    for child in children:
        _signal(child, kill=False)
    _, remaining = psutil.wait_procs(children, timeout=GRACE_S)
    for child in remaining:
        _signal(child, kill=True)
    psutil.wait_procs(remaining, timeout=GRACE_S)


def _cleans_up(process: psutil.Process) -> bool:
    """Whether it is multiprocessing's resource tracker, which ends by itself once all others are gone."""
    try:
        return any("multiprocessing.resource_tracker" in argument for argument in process.cmdline())
    except psutil.Error:
        return False


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        pass
