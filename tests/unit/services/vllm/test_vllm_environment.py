"""What both services set before they import vLLM, and what they say where it is not installed."""

import importlib.util
import os

import pytest

from adaswitch.errors import EnvironmentProblem
from services.vllm.environment import (
    check_vllm_installed,
    set_cpu_environment,
    set_environment,
    set_in_process_environment,
)


def test_a_package_that_is_missing_is_named_with_the_setting_and_both_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = (
        r"^student\.engine: vllm is not installed; get it with `pip .*, or set student\.engine=transformers$"
    )
    with pytest.raises(EnvironmentProblem, match=message):
        check_vllm_installed("student.engine", "set student.engine=transformers")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    check_vllm_installed("student.engine", "")


@pytest.mark.parametrize("eager", [True, False])
def test_what_must_be_is_set_and_what_may_be_stays_as_the_user_has_it(
    monkeypatch: pytest.MonkeyPatch, eager: bool
) -> None:
    environment = {"VLLM_LOGGING_LEVEL": "DEBUG", "VLLM_USE_V2_MODEL_RUNNER": "1"}
    monkeypatch.setattr(os, "environ", environment)
    set_environment(3)
    set_in_process_environment()
    set_cpu_environment(eager)
    assert environment["VLLM_LOGGING_LEVEL"] == "DEBUG"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert (environment["VLLM_USE_V2_MODEL_RUNNER"], environment["VLLM_ENABLE_V1_MULTIPROCESSING"]) == (
        "0",
        "0",
    )
    assert environment.get("TORCH_COMPILE_DISABLE") == ("1" if eager else None)
