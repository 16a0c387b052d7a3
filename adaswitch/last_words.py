"""What a program that failed says in the end: one line with its cause, from an exception or from a log."""

import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from adaswitch.errors import AdaSwitchError, cause_of

_TRACEBACK = "Traceback (most recent call last):"
_RAY_HEAD = re.compile(r"\(\) \(pid=\d+, ip=.*\)$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(
    r"^(?:\([^()]*\bpid=\d+[^()]*\) ?)?"  # Ray and vLLM: which process wrote the line
    r"(?:[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[[^\]]*\] ?)?"  # vLLM: level, time and place
    r"(?:\s*\| ?)?"  # Python: the lines of an exception group
)
_RAISED = re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)(?:: ?(.*))?$")
_FINDINGS = re.compile(r"^\d+ validation errors? for ")
_DETAILS = re.compile(r" \[type=.*$")
_BOX = "│┃║|╭╮╰╯┌┐└┘─━═ \t"
_ASIDE = ("Exception in thread", "Exception ignored in")
_GOES_ON = ("During handling of the above", "The above exception was")
MAX_MESSAGE_LINES = 20
"""The largest number of lines of a message that are looked at."""


def one_line(error: BaseException) -> str:
    """What ``error`` says, in one line: its type and the first line that says something.

    The project's own errors are told without their type. Of an error that came through Ray the original is told, and
    of a group of errors the first.
    """
    cause = cause_of(error)
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, AdaSwitchError):
        return " ".join(str(cause).split("\n")).strip() or type(cause).__name__
    message = first_line(str(cause))
    return f"{type(cause).__name__}: {message}" if message else type(cause).__name__


def first_line(message: str) -> str:
    """The first line of ``message`` that says something; empty if none does.

    Lines that are only drawn do not count. Of a check of settings (pydantic) it is the first finding.
    """
    lines = [words for line in message.splitlines() if (words := _words(line))]
    if lines and _FINDINGS.match(lines[0]) and len(lines) > 1:
        findings = [_DETAILS.sub("", line) for line in lines[1:3]]
        return ": ".join(findings if findings[0].isidentifier() else findings[:1])
    return lines[0] if lines else ""


def last_line(text: str) -> str:
    """The last line of ``text`` that says something; empty if none does."""
    return next((words for line in reversed(text.splitlines()) if (words := _words(line))), "")


def _words(line: str) -> str:
    words = _COLOUR.sub("", line).strip().strip(_BOX)
    return words if re.search(r"\w", words) else ""


def exceptions_in(lines: Sequence[str]) -> Iterator[str]:
    """What each traceback in a log raised in the end, as ``ValueError: message``, in the order of the log.

    Tracebacks of threads, and those that Python ignored, are left out, because they did not end the program.
    """
    plain = [_PREFIX.sub("", _COLOUR.sub("", line.rstrip())) for line in lines]
    for number, line in enumerate(plain):
        before = next((earlier for earlier in reversed(plain[:number]) if earlier.strip()), "")
        if _is_head(line) and not before.startswith(_ASIDE):
            raised = _raised(plain[number + 1 :])
            if raised is not None:
                yield raised


def _is_head(line: str) -> bool:
    """Whether a traceback begins below ``line``: Python's own, or that of an error that Ray passes on."""
    return line.endswith(_TRACEBACK) or _RAY_HEAD.search(line) is not None


def _raised(lines: Sequence[str]) -> str | None:
    """The exception at the end of a traceback, whose ``lines`` follow its head."""
    for number, line in enumerate(lines):
        if _is_head(line):
            return None
        if not line or line[0].isspace():
            continue
        match = _RAISED.match(line)
        if match is None:
            return None
        name = match[1].rpartition(".")[2]
        # Without a colon there is no message, and the next lines of the log are somebody else's.
        message = (
            "" if match[2] is None else first_line("\n".join([match[2], *_message(lines[number + 1 :])]))
        )
        return f"{name}: {message}" if message else name
    return None


def _message(lines: Sequence[str]) -> Iterator[str]:
    """The lines that still belong to a message, as far as a log tells."""
    for line in lines[:MAX_MESSAGE_LINES]:
        if _is_head(line) or line.startswith((*_GOES_ON, *_ASIDE)):
            return
        yield line


def killed(exit_code: int, memory_ran_out: bool) -> str | None:
    """How a signal ended a process with ``exit_code``, as subprocess counts it; None if no signal did.

    ``memory_ran_out`` says whether the kernel has ended a process for its memory in the meantime.
    """
    if exit_code >= 0:
        return None
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = "unknown"
    return f"killed by signal {-exit_code} ({name}){_hint(-exit_code, memory_ran_out)}"


def _hint(number: int, memory_ran_out: bool) -> str:
    match number:
        case signal.SIGKILL if memory_ran_out:
            return ": the memory ran out, so the kernel ended it; use less of it, or take a larger machine"
        case signal.SIGKILL:
            return ": out of memory?"
        case signal.SIGSEGV | signal.SIGILL | signal.SIGFPE:
            return ": it crashed in a library's native code"
        case signal.SIGBUS:
            return ": is /dev/shm or a disk full?"
        case _:
            return ""


def num_memory_kills() -> int:
    """How many processes the kernel has ended so far because memory ran out, as far as this machine tells."""
    places = (
        "/sys/fs/cgroup/memory.events",
        "/sys/fs/cgroup/memory/memory.oom_control",
        "/proc/vmstat",
    )
    total = 0
    for place in places:
        try:
            text = Path(place).read_text(encoding="ascii")
        except OSError:
            continue
        total += sum(int(count) for count in re.findall(r"^oom_kill (\d+)$", text, re.MULTILINE))
    return total
