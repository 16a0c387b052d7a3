"""The settings that a model card shows: those that differ from the defaults, without what is nobody else's business."""

import os
from collections.abc import Mapping
from typing import Any

from adaswitch.config.base import Settings
from adaswitch.config.run import RunConfig

KEPT_BACK = (
    "runs_dir",
    "ray",
    "queue",
    "trackers",
    "teacher.url",
    "teacher.replicas",
    "teacher.api_key_env",
    "teacher.serve.host",
    "teacher.serve.port",
    "teacher.serve.api_keys_file",
    "teacher.serve.insecure",
)
"""Settings of the machines on which a run was, such as addresses: a card is read by others."""
PATHS = ("model", "draft_model", "path", "run", "from_run")
"""The names of settings that may be paths. Of an absolute path a card shows the last part alone."""


def shown_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of ``config`` that differ from the defaults, as a document for YAML."""
    found = _differing(config, config.model_dump(mode="json"))
    for path in KEPT_BACK:
        _remove(found, path.split("."))
    shown: dict[str, Any] = _shown(found)
    return shown


def shown_path(path: str) -> str:
    """``path`` as a card shows it: the last part of an absolute path, anything else as it is."""
    return os.path.basename(path.rstrip("/")) if os.path.isabs(path) else path


def _differing(settings: Settings, document: Mapping[str, Any]) -> dict[str, Any]:
    """What is set otherwise than by default. The kind of a rule stays wherever anything of the rule does."""
    found: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(value, Settings):
            inner = _differing(value, document[name])
            same_kind = getattr(value, "kind", None) == getattr(default, "kind", None)
            if set(inner) - {"kind"} or (inner and not same_kind):
                found[name] = inner
        elif name == "kind" or field.is_required() or value != default:
            found[name] = document[name]
    return found


def _remove(document: dict[str, Any], path: list[str]) -> None:
    inner: Any = document
    for part in path[:-1]:
        inner = inner.get(part)
        if not isinstance(inner, dict):
            return
    inner.pop(path[-1], None)


def _shown(value: Any, name: str = "") -> Any:  # noqa: ANN401 - whatever a document holds
    if isinstance(value, dict):
        return {key: _shown(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner, name) for inner in value]
    return shown_path(value) if name in PATHS and isinstance(value, str) else value
