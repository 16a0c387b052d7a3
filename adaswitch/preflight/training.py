"""Whether the student's model can be trained as the settings ask: with adapters, and divided among ranks."""

import importlib.util

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
    from adaswitch.data.causal_lm import layers_of, outline
    from adaswitch.data.model_config import read_model_config

    made = outline(read_model_config(model, "student.model"))
    if not layers_of(made):
        raise ConfigError(
            f"trainer.num_ranks: the layers of {model!r} ({type(made).__name__}), by which it would be divided among "
            "ranks, are not known: set it to 1"
        )
