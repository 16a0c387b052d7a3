"""Adapters in a model, by the library ``peft``: puts them in, loads them, and finds the factors of each weight.

The adapters are put into the layers of the model itself, so that everything else goes on using the model as it was.
The library is imported where it is used: students lead here too, and do without it.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from adaswitch.data.causal_lm import outline
from adaswitch.data.model_config import read_model_config
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.low_rank import Factors, LoRA

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

ADAPTER = "default"
"""The name that peft gives an adapter for which nobody names another."""
SETTING = "trainer.lora.target_modules"


def add_adapters(model: PreTrainedModel, settings: LoRA) -> "PeftModel":
    """Put new adapters into ``model``. They add nothing yet: B is zero. All other weights are trained no more.

    Raises ``ConfigError`` if no layer is meant, or one that cannot have an adapter. What is returned has the same
    layers as ``model``, and writes and reads adapters in peft's files.
    """
    from peft import LoraConfig, get_peft_model

    targets = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # a fraction is as good
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    with _quiet():
        try:
            adapted: PeftModel = get_peft_model(model, config)
        except (ValueError, re.error) as error:
            raise ConfigError(_why_none(model, settings, error)) from None
    _refuse_others(model)
    return adapted


def load_adapters(model: PreTrainedModel, folder: Path) -> "PeftModel":
    """Put the adapters of ``folder``, in peft's files, into ``model``, to be trained on. Their values are exact.

    Raises ``DataError`` with the folder if they cannot be read, or are another model's.
    """
    from peft import PeftModel

    with _quiet():
        try:
            return PeftModel.from_pretrained(model, folder, is_trainable=True)
        except Exception as error:  # A folder can be wrong in any way.
            raise DataError(f"cannot be read ({_first_line(error)})", source=str(folder)) from error


def check_adapters(folder: str, settings: LoRA) -> None:
    """Raises ``ConfigError`` unless the model in ``folder`` can have such adapters. No weights are read."""
    model = outline(read_model_config(folder, "student.model"))
    with torch.device("meta"):
        add_adapters(model, settings)


def adapted_layers(model: nn.Module) -> "dict[str, LoraLayer]":
    """The layers that have an adapter, by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def factors_of(model: nn.Module, state: Mapping[str, Tensor] | None = None) -> dict[str, Factors]:
    """What each adapter adds, by the name that its weight has in the model without adapters.

    ``state`` holds the values of ``model``, if they are not in the model itself.
    """
    return {f"{name}.weight": _factors(name, layer, state) for name, layer in adapted_layers(model).items()}


def own_names(model: nn.Module) -> dict[str, str]:
    """The names in the model's state, each with the name that it has without adapters. Adapters have none."""
    layers = adapted_layers(model)
    names = {}
    for name in model.state_dict():
        if name.partition(".lora_")[0] in layers:
            continue
        layer, _, rest = name.partition(".base_layer.")
        names[name] = f"{layer}.{rest}" if layer in layers else name
    return names


def _factors(name: str, layer: "LoraLayer", state: Mapping[str, Tensor] | None) -> Factors:
    if state is None:
        inner, outer = (_weight(half[ADAPTER]) for half in (layer.lora_A, layer.lora_B))
    else:
        inner, outer = (state[f"{name}.lora_{half}.{ADAPTER}.weight"] for half in "AB")
    scaled = outer * float(layer.scaling[ADAPTER])
    if getattr(layer, "fan_in_fan_out", False):  # such a layer's weight is [in, out]
        return Factors(inner.t(), scaled.t())
    return Factors(scaled, inner)


def _weight(layer: nn.Module) -> Tensor:
    return layer.get_parameter("weight").detach()


def _refuse_others(model: PreTrainedModel) -> None:
    """Raises ``ConfigError`` for a layer with an adapter that cannot be merged into one weight of a linear layer."""
    embedding = getattr(model.get_input_embeddings(), "weight", None)
    for name, layer in adapted_layers(model).items():
        base = layer.get_base_layer()
        if not isinstance(base, nn.Linear | Conv1D):
            raise ConfigError(
                f"{SETTING}: {name} is a layer of the kind {type(base).__name__}, and only linear layers can have an "
                "adapter: leave it out"
            )
        if base.weight is embedding:
            raise ConfigError(
                f"{SETTING}: {name} is tied to the embedding, which an adapter would part it from: leave it out"
            )


def _why_none(model: PreTrainedModel, settings: LoRA, error: Exception) -> str:
    kinds = {name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)}
    named = settings.target_modules
    said = named if isinstance(named, str) else ", ".join(named)
    if not kinds:
        return f"{SETTING}: this model has no linear layers of the usual kinds: train all weights (trainer.lora: null)"
    if "not found" not in str(error) and "No modules" not in str(error):
        return f"{SETTING}: {said}: {_first_line(error)}"
    return (
        f"{SETTING}: no layer of this model is named {said}: its linear layers are {', '.join(sorted(kinds))}"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what peft says of layers whose weight is turned: it sets that right by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
