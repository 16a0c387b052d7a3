"""The settings of a run, and which of them differ from the defaults."""

from collections.abc import Iterator, Mapping
from typing import Any

from adaswitch.config.described import REQUIRED, Setting, settings_of, written
from adaswitch.config.run import RunConfig


def settings_table(config: RunConfig) -> list[dict[str, object]]:
    """Every setting of ``config``: its path, value, default and meaning, and whether it differs from the default.

    A setting without a default, which everybody must choose, counts as one that differs.
    """
    known: dict[str, list[Setting]] = {}
    for setting in settings_of(RunConfig):
        known.setdefault(setting.path, []).append(setting)
    document = config.model_dump(mode="json")
    return [_row(path, value, _described(path, known, document)) for path, value in leaves(document, known)]


def leaves(
    document: Mapping[str, Any], groups: Mapping[str, object], within: str = ""
) -> Iterator[tuple[str, object]]:
    """The paths and the values of all settings in ``document``. A mapping that is no group is one value."""
    for key, value in document.items():
        path = f"{within}{key}"
        if isinstance(value, Mapping) and value and any(f"{path}.{inner}" in groups for inner in value):
            yield from leaves(value, groups, f"{path}.")
        else:
            yield path, value


def _described(path: str, known: Mapping[str, list[Setting]], document: Mapping[str, Any]) -> Setting | None:
    """What is known of the setting at ``path``, for the kind that its group has."""
    found = known.get(path, [])
    group: Any = document
    for key in path.split(".")[:-1]:
        group = group[key]
    kind = group.get("kind") if isinstance(group, Mapping) else None
    fitting = [setting for setting in found if not setting.of_kinds or kind in setting.of_kinds]
    return next(iter(fitting or found), None)


def _row(path: str, value: object, setting: Setting | None) -> dict[str, object]:
    default = REQUIRED if setting is None else setting.default
    text = written(value)
    return {
        "path": path,
        "value": text,
        "default": default,
        "meaning": "" if setting is None else setting.meaning,
        # A group that may be absent says of its default only that its settings follow.
        "differs": text != default and default != "see below",
    }
