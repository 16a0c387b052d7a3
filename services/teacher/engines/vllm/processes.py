"""Ends the processes that this process started."""

import psutil

GRACE_S = 3.0


def end_descendants() -> None:
    """Terminate all descendants of this process, and kill those that have not ended after ``GRACE_S`` seconds."""
    children = [child for child in psutil.Process().children(recursive=True) if not _cleans_up(child)]
    for child in children:
        _signal(child, kill=False)
    _, remaining = psutil.wait_procs(children, timeout=GRACE_S)
    for child in remaining:
        _signal(child, kill=True)
    psutil.wait_procs(remaining, timeout=GRACE_S)


def _cleans_up(process: psutil.Process) -> bool:
    """Whether ``process`` is multiprocessing's resource tracker, which ends by itself after all other processes."""
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
