"""What a program hangs on and may lose while it runs: the process that launched it, and the terminal that shows it."""

import errno
import os
import signal
import termios
import threading
import time

LAUNCHER = "ADASWITCH_LAUNCHER"
"""The environment variable by which a program knows the process id of its launcher."""
LOOK_EVERY_S = 0.5
STDOUT, STDERR = 1, 2


def end_with_launcher() -> None:
    """If this program was launched by another of this project, let it end in order when that one is gone.

    A launcher that was killed can send no signal any more, so its death is looked for, and SIGTERM sent in its place.
    """
    launcher = os.environ.pop(LAUNCHER, None)  # what this program starts itself has another launcher
    if launcher is not None:
        threading.Thread(target=_watch, args=(int(launcher),), name="launcher", daemon=True).start()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def leave_lost_terminal() -> None:
    """If the terminal was closed, let what is still printed go nowhere: writing to it would be an error."""
    for stream in (STDOUT, STDERR):
        if _is_lost(stream):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)


def _is_lost(stream: int) -> bool:
    try:
        termios.tcgetattr(stream)
    except termios.error as error:  # ENOTTY for what is no terminal, which is not lost
        return bool(error.args[0] == errno.EIO)
    return False
