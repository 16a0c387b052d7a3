"""Folders in which each file holds one rule: its settings together with its code."""

from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import Any, TypeVar

from adaswitch.config.base import Settings

Rule = TypeVar("Rule", bound=Settings)


def rules_in(package: str, base: type[Rule]) -> tuple[type[Rule], ...]:
    """All subclasses of ``base`` with a ``kind`` that modules of ``package`` define, in the modules' order.

    A new file in the folder is found without being named anywhere. Raises ``TypeError`` if two classes have the
    same ``kind``.
    """
    found: dict[str, type[Rule]] = {}
    for module in iter_modules(import_module(package).__path__, f"{package}."):
        for value in vars(import_module(module.name)).values():
            if not _is_rule(value, base, module.name):
                continue
            kind = value.model_fields["kind"].default
            if kind in found:
                raise TypeError(
                    f"{value.__module__}.{value.__name__}: the kind {kind!r} is taken by {found[kind]}"
                )
            found[kind] = value
    return tuple(found.values())


def _is_rule(value: Any, base: type[Settings], module: str) -> bool:  # noqa: ANN401 - whatever a module holds
    """Whether ``value`` is a class that ``module`` itself defines and that a config can name."""
    return (
        isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module
        and not isabstract(value)
        and "kind" in value.model_fields
    )
