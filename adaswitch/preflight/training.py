"""Whether the student's model can be trained as the settings ask: with adapters, and divided among ranks."""

import importlib.util
import os
import shutil

from adaswitch.config.trainer import TrainerConfig
from adaswitch.errors import ConfigError, EnvironmentProblem


def check_training(model: str, trainer: TrainerConfig, *, in_one_process: bool) -> None:
    """Raises ``UserError`` if the layers of ``model``, a folder or hub name, do not allow what ``trainer`` asks for.

    The model's weights are not read. ``in_one_process`` says that the whole run is to be in this process.
    """
    if trainer.lora is not None:
        _check_adapters(model, trainer)
    if trainer.num_ranks > 1:
        _check_ranks(model, trainer.num_ranks, in_one_process)
    if trainer.compile:
        _check_layers_to_compile(model)
        _require_compiler("trainer.compile", trainer.device, "trainer.compile=false")
    if trainer.optimizer.kind == "adamw_8bit":
        _check_8_bits(trainer.device)


def _check_adapters(model: str, trainer: TrainerConfig) -> None:
    if importlib.util.find_spec("peft") is None:
        raise EnvironmentProblem(
            "trainer.lora: peft is not installed; get it with `pip install peft` (`make setup` in the repository), or "
            "train all weights with trainer.lora=null"
        )
    from adaswitch.data.lora import check_adapters

    assert trainer.lora is not None
    check_adapters(model, trainer.lora)


def _check_ranks(model: str, num_ranks: int, in_one_process: bool) -> None:
    if in_one_process:
        raise ConfigError(
            f"trainer.num_ranks: {num_ranks} ranks are actors on a Ray cluster, and this run is in one process: set it "
            "to 1, or start the run with adaswitch run"
        )
    if (name := _name_without_layers(model)) is not None:
        raise ConfigError(
            f"trainer.num_ranks: the layers of {model!r} ({name}), by which it would be divided among ranks, are not "
            "known: set it to 1"
        )


def _check_8_bits(device: str) -> None:
    if importlib.util.find_spec("torchao") is None:
        raise EnvironmentProblem(
            "trainer.optimizer.kind: adamw_8bit needs torchao, which is not installed; get it with "
            "`pip install 'adaswitch[adamw8bit]'`, or set trainer.optimizer.kind=adamw"
        )
    _require_compiler("trainer.optimizer.kind", device, "trainer.optimizer.kind=adamw")


def _check_layers_to_compile(model: str) -> None:
    if (name := _name_without_layers(model)) is not None:
        raise ConfigError(
            f"trainer.compile: the layers of {model!r} ({name}), which would be compiled one by one, are not known: "
            "set it to false"
        )


def _require_compiler(setting: str, device: str, other: str) -> None:
    """Raises ``EnvironmentProblem`` with ``setting`` if torch cannot compile for ``device``; ``other`` needs it not."""
    import torch

    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        lacks = None if importlib.util.find_spec("triton") else "Triton, which comes with torch for CUDA"
    else:
        lacks = None if any(map(shutil.which, compilers())) else "a C++ compiler, such as g++"
    if lacks is not None:
        raise EnvironmentProblem(f"{setting}: it needs {lacks}: install it, or set {other}")


def compilers() -> list[str]:
    """The C++ compilers that torch looks for: the one that CXX names, or else the usual ones."""
    named = os.environ.get("CXX")
    return [named] if named else ["g++", "clang++"]


def _name_without_layers(model: str) -> str | None:
    """The class of a model whose layers are not known, as transformers marks them; None if they are."""
    from adaswitch.data.causal_lm import layers_of, outline
    from adaswitch.data.model_config import read_model_config

    made = outline(read_model_config(model, "student.model"))
    return None if layers_of(made) else type(made).__name__
