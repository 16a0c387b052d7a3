"""The teacher service's command line: how many threads."""

import pytest

from adaswitch.errors import ConfigError
from services.teacher.__main__ import _config, parse_arguments


@pytest.mark.parametrize(("given", "expected"), [((), "auto"), (("auto",), "auto"), (("3",), 3)])
def test_threads_are_a_number_or_auto(given: tuple[str, ...], expected: object) -> None:
    options = ["--num-threads", *given] if given else []
    assert _config(parse_arguments(["--model", "m", *options]))[0].num_threads == expected


@pytest.mark.parametrize("given", ["0", "-2", "all", "1.5"])
def test_any_other_number_of_threads_is_answered_in_one_line(given: str) -> None:
    with pytest.raises(ConfigError, match=r"num_threads: .* write auto, or a whole number from 1 on"):
        _config(parse_arguments(["--model", "m", f"--num-threads={given}"]))
