"""A user's own metric, named in the settings by its import path."""

import importlib
from collections.abc import Callable, Mapping

import numpy as np

from adaswitch.errors import ConfigError, UnmarkedError

MetricFunction = Callable[[str, Mapping[str, object]], float]
"""``(completion, record) -> mark``, from 0 to 1; ``record`` is the data file's."""


def load_metric(path: str, setting: str = "task.metric") -> MetricFunction:
    """The function that ``path`` names, as in ``my_metrics:length``.

    Raises ``ConfigError`` where the module cannot be imported or has no such function.
    """
    module_name, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except (Exception, SystemExit) as error:  # A module runs anything at import.
        raise ConfigError(
            f"{setting}: cannot import {module_name!r}: {_reason(error)}; it must be a module that Python finds, "
            "such as a file in the working directory"
        ) from None
    if not callable(found):
        problem = "has no function" if found is None else "has something that is no function under the name"
        raise ConfigError(f"{setting}: the module {module_name!r} {problem} {name!r}")
    function: MetricFunction = found
    return function


def apply_metric(function: MetricFunction, completion: str, record: Mapping[str, object]) -> float:
    """The mark that ``function`` gives. Raises ``UnmarkedError`` where it fails or gives no number in [0, 1]."""
    try:
        value: object = function(completion, record)
    except (
        Exception,
        SystemExit,
    ) as error:  # Somebody else's code: whatever it raises belongs to this record.
        raise UnmarkedError(f"the metric raised {_reason(error)}") from error
    # NaN is in no range, and comparing cannot overflow as a conversion can.
    if not isinstance(value, int | float | np.integer | np.floating | np.bool_) or not 0 <= value <= 1:
        shown = _writable(f"{value!r:.60}")
        raise UnmarkedError(f"the metric gave {shown}, which is no number from 0 to 1")
    return float(value)


def _reason(error: BaseException) -> str:
    return _writable(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": "))


def _writable(text: str) -> str:
    """``text`` with halves of surrogate pairs escaped, which no file and no terminal takes."""
    return text.encode("utf-8", "backslashreplace").decode()
