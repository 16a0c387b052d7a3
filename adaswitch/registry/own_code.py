"""A user's own code, which a config names by an import path: how it is found, checked and built from its settings.

``path: my_rules:Hesitant`` is the class ``Hesitant`` in the module ``my_rules``. The module is looked for in all
places where Python looks for modules, and the working directory is one of these places.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
)

from adaswitch.config.base import Settings
from adaswitch.errors import AdaSwitchError, ConfigError, OwnCodeError
from adaswitch.last_words import one_line


def _like_a_path(path: str) -> str:
    module, colon, name = path.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"{path!r} is no import path: write module:Class, as in my_rules:Hesitant")
    return path


def _writable_down(settings: Any) -> Any:  # noqa: ANN401 - whatever a document holds
    """``settings`` if every process that reads the config can get the same ones; none at all for a blank."""
    if settings is None:
        return {}
    try:
        json.dumps(settings, default=_date_as_text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"cannot be written into a config: {error}; use numbers, texts, lists and mappings"
        ) from None
    return settings


def _date_as_text(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{value!r:.40} is a {type(value).__name__}")


ImportPath = Annotated[
    str, AfterValidator(_like_a_path), Field(json_schema_extra={"pattern": r"^[^:\s]+:[^:\s]+$"})
]
"""``module:name``, as in ``my_rules:Hesitant``."""


class OwnCode(Settings):
    """Settings that name a user's own class. The settings of that class stand under ``settings``."""

    path: ImportPath
    """Your own class, as ``module:Class``. The module is a file in the working directory, or an installed package."""
    settings: Annotated[dict[str, Any], BeforeValidator(_writable_down)] = Field(default_factory=dict)
    """The settings of your own class. The class checks them before the run starts."""

    def build(self, where: str, methods: Sequence[str]) -> Any:  # noqa: ANN401 - somebody else's class
        """The object that ``path`` and ``settings`` describe; see ``load_class`` and ``make``."""
        return make(load_class(self.path, f"{where}.path", methods), self.path, self.settings, where)


def load_name(path: str, setting: str) -> object:
    """The object that ``path`` names. Raises ``ConfigError`` if the module cannot be imported or lacks the name."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # Importing a module may run any code.
        # The module itself is not there; else something in it is wrong.
        lacks = isinstance(error, ModuleNotFoundError) and module_name.startswith(str(error.name))
        fix = "it must be a module that Python finds, such as a file in the working directory"
        raise ConfigError(
            f"{setting}: cannot import {module_name!r}: {reason(error)}; {fix if lacks else 'correct the module'}"
        ) from None
    if not hasattr(module, name):
        raise ConfigError(
            f"{setting}: the module {module_name!r} has no {name!r}: write it there, or correct the path"
        )
    found: object = getattr(module, name)
    return found


def load_class(path: str, setting: str, methods: Sequence[str]) -> type[Any]:
    """The class that ``path`` names. Raises ``ConfigError`` unless it is a class with all ``methods``."""
    found = load_name(path, setting)
    if not isinstance(found, type):
        raise ConfigError(
            f"{setting}: {path} is a {type(found).__name__} and no class: name a class with the "
            f"method{'s' * (len(methods) > 1)} {' and '.join(methods)}"
        )
    abstract = sorted(getattr(found, "__abstractmethods__", ()))
    missing = [
        name for name in [*methods, *abstract] if name in abstract or not callable(getattr(found, name, None))
    ]
    if missing:
        raise ConfigError(
            f"{setting}: the class {path} has no method {missing[0]!r}: add it; docs/extending.md has a whole example"
        )
    return found


def make(cls: type[Any], path: str, settings: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401
    """An object of ``cls`` with ``settings``. ``cls`` is a class of settings, a dataclass, or takes keywords.

    Types are checked for classes of settings and dataclasses. Raises ``ConfigError`` with the setting and the class.
    """
    try:
        if not issubclass(cls, BaseModel) and not is_dataclass(cls):
            return cls(**settings)
        if is_dataclass(cls):
            _refuse_unknown(settings, [field.name for field in fields(cls) if field.init])
        # The settings are validated as JSON, because then a list may become a tuple, and a text a date or a path.
        strict = None if issubclass(cls, BaseModel) else True  # a class of settings has its own strictness
        return TypeAdapter(cls).validate_json(json.dumps(settings, default=_date_as_text), strict=strict)
    except ValidationError as error:
        raise ConfigError(f"{where}.settings{_first_finding(error)}; see the settings of {path}") from None
    except AdaSwitchError:
        raise
    except (Exception, SystemExit) as error:  # A constructor may run any code.
        raise ConfigError(
            f"{where}.settings: {path} refuses them: {reason(error)}: correct the settings"
        ) from None


def _refuse_unknown(settings: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise TypeError(f"unknown setting {unknown[0]!r} (there are: {', '.join(known) or 'none'})")


def _first_finding(error: ValidationError) -> str:
    finding = error.errors(include_url=False)[0]
    place = "".join(f".{part}" for part in finding["loc"])
    words = {"extra_forbidden": "unknown setting", "missing": "this setting is required"}
    if finding["type"] == "missing" and isinstance(finding["loc"][-1], int):
        words["missing"] = "too few values"
    return f"{place}: {words.get(finding['type'], finding['msg'].removeprefix('Value error, '))}"


@contextmanager
def running(path: str, where: str) -> Iterator[None]:
    """Turn all errors of the user's code that runs inside into an ``OwnCodeError`` with path and line."""
    try:
        yield
    except AdaSwitchError:
        raise
    except (Exception, SystemExit) as error:
        raise OwnCodeError(f"{where}: {path} raised {reason(error)}{line_of(error, path)}") from error


def line_of(error: BaseException, path: str) -> str:
    """The last place in the user's own module that led to ``error``, as in `` (my_rules.py, line 12)``; or nothing."""
    module = sys.modules.get(path.partition(":")[0])
    trace = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    own = [frame for frame in trace if frame.filename == getattr(module, "__file__", None)]
    return f" ({own[-1].filename.rpartition('/')[2]}, line {own[-1].lineno})" if own else ""


def require_parameters(function: Callable[..., object], num: int, path: str, setting: str) -> None:
    """Raises ``ConfigError`` unless ``function``, bound to its object, takes ``num`` arguments by position."""
    try:
        inspect.signature(function).bind(*[None] * num)
    except TypeError:
        name = getattr(function, "__name__", "it")
        raise ConfigError(
            f"{setting}: {path}.{name} must take {num} argument{'s' * (num != 1)} after self: see docs/extending.md"
        ) from None
    except ValueError:  # the arguments of a function written in C are unknown
        return


def reason(error: BaseException) -> str:
    """The kind of an error and the first line of what it says; of a check of settings the first finding."""
    if isinstance(error, ValidationError):
        return writable(f"{type(error).__name__}: {_first_finding(error).removeprefix('.')}")
    return writable(one_line(error))


def writable(text: str) -> str:
    """``text`` with lone halves of surrogate pairs escaped, because no file or terminal takes them."""
    return text.encode("utf-8", "backslashreplace").decode()
