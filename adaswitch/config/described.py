"""A list of all settings: the whole path, type, default and meaning of each, read from the classes of settings.

The table that ``adaswitch config`` prints is made from this list, and so are the hints on unknown settings.
"""

import datetime
import json
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from adaswitch.config.base import Settings

REQUIRED = "required"
KIND_MEANING = "The kind of this group, which decides its other settings."


@dataclass(frozen=True)
class Setting:
    """One setting. If the setting exists only with certain choices of ``kind``, it says with which."""

    path: str
    """The whole path, as in ``trainer.loss.beta``."""
    of_kinds: tuple[str, ...]
    """The kinds that have the setting, as in ``jsd``. Empty for a setting that always exists."""
    type: str
    """The values that the setting may have, as in ``number from 0 to 1``."""
    default: str
    """The default as a document writes it, or ``required`` if there is no default."""
    meaning: str
    """The meaning in one or more lines, from the field's docstring."""

    @property
    def key(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def parent(self) -> str:
        """The path of the group that the setting belongs to; empty at the top level."""
        return self.path.rpartition(".")[0]


def settings_of(model: type[Settings]) -> list[Setting]:
    """Every setting below ``model``, in the order of the classes' fields. A group comes before its own settings.

    A setting that several kinds have in common stands in the list once, with the names of all these kinds.
    """
    found: dict[Setting, list[str]] = {}
    for setting in _walk(model, "", ""):
        kinds = found.setdefault(replace(setting, of_kinds=()), [])
        kinds += [kind for kind in setting.of_kinds if kind not in kinds]
    return [replace(setting, of_kinds=tuple(kinds)) for setting, kinds in found.items()]


def _walk(model: type[Settings], prefix: str, of_kind: str) -> Iterator[Setting]:
    of_kinds = (of_kind,) if of_kind else ()
    for name, field in model.model_fields.items():
        if name == "kind":
            continue  # the group that the kind belongs to lists it once
        path = f"{prefix}.{name}" if prefix else name
        groups = groups_in(field.annotation)
        yield Setting(path, of_kinds, _type(field, groups), _default(field), _meaning(field))
        kinds = [kind_of(group) for group in groups if kind_of(group)]
        if kinds:
            default = field.get_default(call_default_factory=True)
            chosen = kind_of(type(default)) if isinstance(default, Settings) else ""
            yield Setting(
                f"{path}.kind",
                of_kinds,
                " | ".join(kinds),
                chosen or REQUIRED,
                KIND_MEANING,
            )
        for group in groups:
            yield from _walk(group, path, kind_of(group) or of_kind)


def kind_of(group: type[Settings]) -> str:
    """The ``kind`` by which a config names ``group``; empty if ``group`` has no kind."""
    return str(group.model_fields["kind"].default) if "kind" in group.model_fields else ""


def groups_in(annotation: Any) -> list[type[Settings]]:  # noqa: ANN401 - whatever a field is annotated with
    """The classes of settings that a field of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated, dict, list):
        return [group for part in get_args(annotation) for group in groups_in(part)]
    return []


def _type(field: FieldInfo, groups: list[type[Settings]]) -> str:
    if not groups:
        return _words(field.annotation, _limits(field.metadata))
    several = get_origin(field.annotation) in (dict, list)
    optional = type(None) in get_args(field.annotation)
    return ("settings by name" if several else "settings") + (" | null" if optional else "")


_WORDS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true | false",
    type(None): "null",
    datetime.date: "day as in 2026-11-30",
    object: "anything",
    Any: "anything",
}


def _words(annotation: Any, limits: str = "") -> str:  # noqa: ANN401
    """``annotation`` in words. ``limits`` are the limits of the numbers in it."""
    if annotation in _WORDS:
        return _WORDS[annotation] + (limits if annotation in (int, float) else "")
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(part) for part in parts)
    if origin is Annotated:
        inner = [part for part in parts[1:] if isinstance(part, FieldInfo)]
        return _words(parts[0], _limits(inner[0].metadata) if inner else "")
    if origin is list:
        return f"list of {_words(parts[0])}"
    if origin is dict:
        return "mapping"
    return " | ".join(_words(part, limits) for part in parts)


def _limits(metadata: list[Any]) -> str:
    """A field's limits in words, as in `` >= 1``, from the metadata that pydantic keeps."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [
        f"{sign} {getattr(m, name)}" for m in metadata for name, sign in signs.items() if hasattr(m, name)
    ]
    return f" {' and '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return REQUIRED
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Settings):
        return "see below"
    return written(value)


def written(value: object) -> str:
    """A plain value as a document writes it: a word as it is, all else as JSON."""
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value)


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())
