"""How a document becomes a ``RunConfig``, and how a mistake in the document is reported in one line."""

import difflib
import itertools
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from adaswitch.config.base import Settings
from adaswitch.config.described import Setting, settings_of
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError


def parse_config(document: Mapping[str, object]) -> RunConfig:
    """``document`` as a ``RunConfig``. Raises ``ConfigError`` with one line that has the key and the fix."""
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(describe(error, RunConfig)) from None


def with_overrides(
    document: Mapping[str, object], overrides: Sequence[tuple[str, object]], within: str = ""
) -> dict[str, object]:
    """A copy of ``document`` in which every override such as ``("trainer.num_steps", 10)`` is set or added."""
    result = dict(document)
    for path, value in overrides:
        head, _, rest = path.partition(".")
        if not head:
            raise ConfigError(f"{path!r}: a key is missing before the dot; write it as in trainer.num_steps")
        if rest:
            inner = result.get(head) or {}
            if not isinstance(inner, Mapping):
                raise ConfigError(f"{within}{path}: {head} is a single value and has no keys of its own")
            result[head] = with_overrides(inner, [(rest, value)], f"{within}{head}.")
        else:
            result[head] = value
    return result


def describe(error: ValidationError, model: type[Settings]) -> str:
    """The first of pydantic's findings as one line, and how many more there are."""
    findings = error.errors(include_url=False)
    # A setting that may be one thing or another has a finding for each.
    first, same = findings[0], [one for one in findings[1:] if _path(one, model) == _path(findings[0], model)]
    other_ways = "".join(f"; or: {finding['msg'].removeprefix('Value error, ')}" for finding in same)
    num_others = len(findings) - 1 - len(same)
    return _one_line(first, model) + other_ways + (f" (and {num_others} more)" if num_others else "")


def _one_line(finding: ErrorDetails, model: type[Settings]) -> str:
    path = _path(finding, model)
    if finding["type"] == "extra_forbidden":
        if finding["loc"][-2:-1] == ("custom",):
            parent, _, key = path.rpartition(".")
            return f"{path}: unknown setting; those of your own class stand under settings: {parent}.settings.{key}"
        return f"{path}: unknown setting{_hint(path, settings_of(model))}"
    if finding["type"] == "missing":
        return f"{path}: this setting is required"
    if finding["type"] == "union_tag_not_found":
        return f"{path}.kind: this setting is required"
    if finding["type"] == "union_tag_invalid":
        context = finding["ctx"]
        return f"{path}.kind: {context['tag']!r} is not one of {context['expected_tags']}"
    message = finding["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message


def _hint(path: str, known: Sequence[Setting]) -> str:
    """A setting that may have been meant: with another kind, in another place, or with a similar name."""
    parent, _, key = path.rpartition(".")
    beside = [setting for setting in known if setting.parent == parent]
    if kinds := [kind for setting in beside if setting.key == key for kind in setting.of_kinds]:
        return f" of this kind; it belongs to {'kind' if len(kinds) == 1 else 'the kinds'} {', '.join(kinds)}"
    if paths := _nearest(parent, [setting.path for setting in known if setting.key == key]):
        return f"; did you mean {' or '.join(paths)}?"
    if close := difflib.get_close_matches(key, sorted({setting.key for setting in beside}), n=1):
        return f"; did you mean {close[0]}?"
    if close := difflib.get_close_matches(key, sorted({setting.key for setting in known}), n=1):
        paths = _nearest(parent, [setting.path for setting in known if setting.key == close[0]])
        return f"; did you mean {' or '.join(paths)}?"
    return ""


def _nearest(parent: str, paths: Sequence[str]) -> list[str]:
    """The paths, at most three, that have the most in common with ``parent``."""

    def shared(path: str) -> int:
        """How many parts both begin with."""
        pairs = zip(parent.split("."), path.split("."), strict=False)
        return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))

    most = max(map(shared, paths), default=0)
    return list(dict.fromkeys(path for path in paths if shared(path) == most))[:3]


def _path(finding: ErrorDetails, model: type[Settings]) -> str:
    """The key as a document writes it, without the ``kind``s that pydantic puts between its parts."""
    last = finding["loc"][len(finding["loc"]) - 1 :] if finding["type"] == "extra_forbidden" else ()
    inner = finding["loc"][: len(finding["loc"]) - len(last)]
    known, by_name = {setting.key for setting in settings_of(model)}, _mapping_keys(model)
    kept = [
        str(part)
        for before, part in zip(("", *inner), inner, strict=False)
        if isinstance(part, int) or part in known or before in by_name
    ]
    return ".".join([*kept, *map(str, last)])


def _mapping_keys(model: type[Settings]) -> set[str]:
    """The keys anywhere under ``model`` that hold a mapping, whose own keys are names that a user chose."""
    keys: set[str] = set()
    for definition in [model.model_json_schema(), *model.model_json_schema().get("$defs", {}).values()]:
        properties = definition.get("properties", {})
        keys |= {key for key, schema in properties.items() if schema.get("type") == "object"}
    return keys
