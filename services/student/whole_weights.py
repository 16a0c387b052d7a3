"""``WholeWeights``: the weights to load into a student's engine, where adapters alone may have been published."""

from collections.abc import Mapping

import torch
from torch import Tensor

from adaswitch.data.causal_lm import load_configured
from adaswitch.data.model_config import read_model_config
from adaswitch.errors import ModelError
from adaswitch.method.low_rank import published_factors


class WholeWeights:
    """Merges published adapters with the weights of the student's folder, which are kept in memory once they are read.

    Each set of adapters is merged with the weights of the folder. To exchange one for another in the merged weights
    would leave the rounding of each exchange behind.
    """

    def __init__(self, folder: str, dtype: str) -> None:
        """``dtype`` is the number type of the engine's weights."""
        self._folder = folder
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._own: dict[str, Tensor] | None = None

    @torch.no_grad()
    def of(self, published: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """All weights by name: ``published`` as they are, unless they are adapters.

        Raises ``ModelError`` if the adapters are another model's.
        """
        factors = published_factors(published)
        if factors is None:
            return published
        if self._own is None:
            self._own = self._read()
        own = self._own
        shapes = {name: (each.left.shape[0], each.right.shape[1]) for name, each in factors.items()}
        other = sorted(name for name, shape in shapes.items() if name not in own or own[name].shape != shape)
        if other:
            raise ModelError(
                f"the published adapters are another model's: {other[0]} is not in {self._folder!r}, or of another "
                "shape; student.model must be the same for students and trainer"
            )
        return own | {name: each.added_to(own[name]).to(self._dtype) for name, each in factors.items()}

    def _read(self) -> dict[str, Tensor]:
        """The parameters of the folder's model in its own number type, so that they are rounded once, when merged."""
        configured = read_model_config(self._folder, "student.model")
        model = load_configured(configured, "student.model", configured.stored_dtype or "float32")
        return {name: parameter.detach() for name, parameter in model.named_parameters()}
