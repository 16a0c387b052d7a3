"""The engines that write with the student model. ← To add an engine, write its module here and name it in
``make_engine``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaswitch.config.student import StudentConfig
    from services.student.engines.choice import Engine
    from services.student.engines.engine import ContinuousEngine, Sampling, StudentEngine
    from services.student.engines.vllm.engine import VLLMEngine


def make_engine(
    config: "StudentConfig",
    vocab_size: int,
    sampling: "Sampling",
    max_tokens: int,
    device: str,
    say: Callable[[str], None],
) -> "StudentEngine | ContinuousEngine":
    """The engine that ``config`` names, or that ``auto`` takes, with the model loaded on ``device``.

    No sequence has more than ``max_tokens``. ``say`` gets a line with the engine that was taken, and why. Raises
    ``UserError`` if the engine is missing or cannot run the model.
    """
    name, why = choose_engine(config, device)
    if name == "vllm":
        engine, why = vllm_or_why_not(config, vocab_size, sampling, max_tokens, device, why)
        if engine is not None:
            say(f"student.engine: vllm ({why})")
            return engine
    from services.student.engines.transformers_engine import TransformersEngine

    say(f"student.engine: transformers ({why})")
    return TransformersEngine.from_folder(config.model, config.dtype, vocab_size, sampling, device)


def choose_engine(config: "StudentConfig", device: str) -> "tuple[Engine, str]":
    """The engine that ``config`` names, or that ``auto`` takes, and why. See ``choice.choose``."""
    from services.student.engines.choice import choose
    from services.student.engines.vllm.outline import num_parameters
    from services.vllm.environment import is_vllm_installed

    return choose(config.engine, device, lambda: num_parameters(config.model), installed=is_vllm_installed())


def vllm_or_why_not(
    config: "StudentConfig", vocab_size: int, sampling: "Sampling", max_tokens: int, device: str, why: str
) -> "tuple[VLLMEngine | None, str]":
    """The engine on vLLM and ``why`` it was chosen. If it cannot run what ``auto`` chose it for: None, and why not.

    Raises ``UserError`` if it cannot run, and was asked for.
    """
    from adaswitch.errors import UserError
    from services.student.engines.vllm.engine import VLLMEngine
    from services.student.engines.vllm.start import INSTEAD

    try:
        on_gpu = device.startswith("cuda")
        return VLLMEngine(config, vocab_size, sampling, max_tokens, on_gpu=on_gpu), why
    except UserError as error:
        if config.engine != "auto":
            raise
        return None, str(error).removeprefix("student.engine: ").removesuffix(f"; {INSTEAD}")
