"""The setting of a number of CPU threads: a number, or ``auto``."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

PROPER = "write auto, or a whole number from 1 on"


def is_num_threads(value: object) -> bool:
    """Whether ``value`` is ``auto`` or a whole number from 1 on."""
    return value == "auto" or (type(value) is int and value >= 1)


def _auto_or_number(value: object) -> object:
    """Pydantic would report each of the two types that do not fit. One line is enough."""
    if is_num_threads(value):
        return value
    raise ValueError(f"{value!r} is no number of threads: {PROPER}")


NumThreads = Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], BeforeValidator(_auto_or_number)]
"""A number of CPU threads. ``adaswitch.data.threads`` says which number takes the place of ``auto``."""


def number_or_auto(text: str) -> int | str:
    """The value of a command line's option. Text that is no number stays text, for a check that says what is right."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def counted_threads(num_threads: NumThreads) -> str:
    """``1 thread``, ``2 threads`` and so on, for a message."""
    return f"{num_threads} {'thread' if num_threads == 1 else 'threads'}"


def reserved_cpus(num_threads: NumThreads) -> int:
    """The number of CPUs that Ray sets aside for a process.

    For ``auto`` it is one. Several runs may take turns on the same cores, and if the first had them all set aside, the
    others would wait for its end.
    """
    return 1 if num_threads == "auto" else num_threads
