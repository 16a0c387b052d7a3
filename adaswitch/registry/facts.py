"""What a user's own object says of itself, looked at before it is believed."""

import math
from collections.abc import Callable
from typing import Any

from adaswitch.errors import ConfigError
from adaswitch.registry.own_code import running

Check = Callable[[Any], bool]


def fact(own: object, name: str, default: object, check: Check, what: str, path: str, where: str) -> Any:  # noqa: ANN401
    """The property ``name`` of a user's object, or ``default`` if the class does not have it.

    Raises ``ConfigError``, with the ``path`` of the class and the setting ``where`` it is named, for a value that
    fails ``check``: it must be ``what``. Raises ``OwnCodeError`` if the property itself fails.
    """
    with running(f"{path}.{name}", f"{where}.path"):
        value = getattr(own, name, default)
    if callable(value):
        raise ConfigError(f"{where}.path: {path}.{name} is a method: write @property above its def")
    if not check(value):
        raise ConfigError(f"{where}.path: {path}.{name} is {value!r:.60}, and must be {what}: correct it")
    return value


def run_own_check(own: object, path: str, where: str) -> None:
    """Call the ``check`` of a user's object, if its class has one. Raises ``OwnCodeError`` if that fails."""
    own_check = getattr(own, "check", None)
    if callable(own_check):
        with running(f"{path}.check", f"{where}.path"):
            own_check()


def is_bool(value: object) -> bool:
    """Whether it is true or false."""
    return isinstance(value, bool)


def is_count(value: object, least: int = 1) -> bool:
    """Whether it is a whole number from ``least`` on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_count_or_none(value: object) -> bool:
    """Whether it is a whole number from 1 on, or None."""
    return value is None or is_count(value)


def is_text_or_none(value: object) -> bool:
    """Whether it is text, or None."""
    return value is None or isinstance(value, str)


def are_names(value: object) -> bool:
    """Whether it is a tuple or list of distinct names, with at least one."""
    if not isinstance(value, tuple | list):
        return False
    return all(isinstance(name, str) and name for name in value) and len(value) == len(set(value)) > 0


def are_weights(value: object) -> bool:
    """Whether it is two finite numbers from 0 on, of which one at least is above 0."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    numbers = all(isinstance(weight, int | float) and not isinstance(weight, bool) for weight in value)
    return numbers and all(0 <= weight < math.inf for weight in value) and max(value) > 0
