"""Which engine writes with a student: the setting ``student.engine``, and what ``auto`` makes of it."""

from collections.abc import Callable
from typing import Literal

from adaswitch.errors import ConfigError

Engine = Literal["transformers", "vllm"]
MIN_PARAMETERS = 30_000_000
"""From this size on, vLLM takes less time for a token than transformers does, also on CPU."""


def choose(
    asked: Literal["auto", "transformers", "vllm"],
    device: str,
    count_parameters: Callable[[], int],
    *,
    installed: bool,
) -> tuple[Engine, str]:
    """The engine for a student on ``device``, and why it was taken. Its parameters are counted only if they matter.

    Raises ``ConfigError`` if vLLM is asked for on a device on which it does not compute here.
    """
    kind, _, index = device.partition(":")
    can_compute = kind in ("cpu", "cuda") and int(index or 0) == 0
    if asked == "vllm" and not can_compute:
        raise ConfigError(
            f"student.engine: vllm computes on the CPU or on the first GPU that an actor has, not on {device}: set "
            "student.device=auto, or student.engine=transformers"
        )
    if asked != "auto":
        return asked, "as student.engine says"
    if not can_compute:
        return "transformers", f"vLLM does not compute on {device}"
    if not installed:
        return "transformers", "vLLM is not installed"
    if kind == "cuda":
        return "vllm", "the student is on a GPU"
    num_parameters = count_parameters()
    millions = f"the student has {num_parameters / 1e6:.3g}M parameters"
    if num_parameters >= MIN_PARAMETERS:
        return "vllm", f"{millions}, {MIN_PARAMETERS / 1e6:.0f}M or more"
    return "transformers", f"{millions}, less than {MIN_PARAMETERS / 1e6:.0f}M"
