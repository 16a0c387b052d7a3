"""A user's own metric, named in the settings by its import path."""

from collections.abc import Callable, Mapping

import numpy as np

from adaswitch.errors import ConfigError, UnmarkedError
from adaswitch.registry.own_code import line_of, load_name, reason, writable

MetricFunction = Callable[[str, Mapping[str, object]], float]
"""``(completion, record) -> mark``, where the mark is from 0 to 1 and ``record`` is the record of the data file."""


def load_metric(path: str, setting: str = "task.metric") -> MetricFunction:
    """The function that ``path`` names, as in ``my_metrics:length``.

    Raises ``ConfigError`` if the module cannot be imported or does not have the function.
    """
    found = load_name(path, setting)
    if not callable(found):
        raise ConfigError(f"{setting}: {path} is a {type(found).__name__} and no function: name a function")
    function: MetricFunction = found
    return function


def apply_metric(function: MetricFunction, completion: str, record: Mapping[str, object]) -> float:
    """The mark from ``function``. Raises ``UnmarkedError`` if ``function`` fails or gives no number in [0, 1]."""
    try:
        value: object = function(completion, record)
    except (
        Exception,
        SystemExit,
    ) as error:  # Whatever the user's code raises concerns this record alone.
        path = f"{function.__module__}:{getattr(function, '__qualname__', type(function).__qualname__)}"
        raise UnmarkedError(f"the metric raised {reason(error)} in {path}{line_of(error, path)}") from error
    return as_mark(value, "the metric")


def as_mark(value: object, whose: str) -> float:
    """``value`` as a mark. Raises ``UnmarkedError`` that names ``whose`` mark is not a number in [0, 1]."""
    # NaN fails the comparison too. Comparing cannot overflow, unlike a conversion to float.
    if not isinstance(value, int | float | np.integer | np.floating | np.bool_) or not 0 <= value <= 1:
        shown = writable(f"{value!r:.60}")
        raise UnmarkedError(f"{whose} gave {shown}, which is no number from 0 to 1")
    return float(value)
