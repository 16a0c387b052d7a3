"""The trainer's weights as vLLM takes them: under the names that a saved folder has, and in the student's number type.

The trainer publishes its parameters by transformers' own names. For some kinds of models, such as mixtures of experts,
these are not those of the files, in which vLLM looks for its weights.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from adaswitch.data.causal_lm import outline
from adaswitch.data.model_config import ModelConfig, read_model_config
from adaswitch.errors import ModelError


class Outline:
    """A model without its weights: which parameters it has, and how a saved folder names them."""

    def __init__(self, model: ModelConfig, dtype: torch.dtype) -> None:
        self._model = outline(model)
        self._dtype = dtype
        self._shapes = {name: parameter.shape for name, parameter in self._model.named_parameters()}

    @property
    def num_parameters(self) -> int:
        """The number of parameters; those that are tied count once."""
        return sum(shape.numel() for shape in self._shapes.values())

    def check(self, weights: Mapping[str, Tensor]) -> None:
        """Raises ``ModelError`` if ``weights`` are not this model's."""
        if different := sorted(self._shapes.keys() ^ weights.keys()):
            raise ModelError(
                f"the published weights are another model's: {different[0]} is on one side only; "
                "student.model must be the same for students and trainer"
            )
        for name, shape in self._shapes.items():
            if weights[name].shape != shape:
                raise ModelError(
                    f"the published weights are another model's: {name} has the shape {list(weights[name].shape)}, "
                    f"and here {list(shape)}; student.model must be the same for students and trainer"
                )

    def as_saved(self, weights: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
        """The weights by the names of a saved folder. Tied parameters appear only once."""
        typed = {name: weight.detach().to(self._dtype) for name, weight in weights.items()}
        return list(revert_weight_conversion(self._model, typed).items())


def extremes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The smallest and the largest value ``[2]`` of each weight. They are NaN if any value is."""
    return {
        name: torch.stack(torch.aminmax(weight.detach()))
        for name, weight in weights.items()
        if weight.numel()
    }


def num_parameters(folder: str) -> int:
    """The number of parameters of the model in ``folder``, by its config.json. No weights are read."""
    return Outline(read_model_config(folder, "student.model"), torch.float32).num_parameters
