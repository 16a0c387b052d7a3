"""A user's own loss, named by its import path. ``docs/extending.md`` has a complete example."""

from typing import TYPE_CHECKING, Literal

from adaswitch.errors import OwnCodeError
from adaswitch.method.losses.base import Loss
from adaswitch.registry.own_code import OwnCode, require_parameters, running

if TYPE_CHECKING:
    from torch import Tensor

    from adaswitch.method.batching import Batch

WHERE = "trainer.loss"


class CustomLoss(OwnCode, Loss):
    """A user's own loss: a class with ``token_losses(self, batch, completion_logits)``."""

    kind: Literal["custom"] = "custom"

    def load(self) -> Loss:
        """The loss that ``path`` names. Raises ``ConfigError`` with the path, what is wrong, and what to do."""
        loaded: Loss = self.build(WHERE, ["token_losses"])
        require_parameters(loaded.token_losses, 2, self.path, f"{WHERE}.path")
        return loaded

    def check(self) -> None:
        """See ``Loss``."""
        self.load()

    def token_losses(self, batch: "Batch", completion_logits: "Tensor") -> "Tensor":
        """See ``Loss``. Raises ``OwnCodeError`` if the loaded loss fails, or its result cannot be minimised."""
        loaded = self.load()
        with running(f"{self.path}.token_losses", f"{WHERE}.path"):
            losses = loaded.token_losses(batch, completion_logits)
            shape, has_gradient = tuple(losses.shape), losses.requires_grad
        if shape != (batch.num_tokens,):
            raise OwnCodeError(
                f"{WHERE}.path: {self.path}.token_losses gave the shape {list(shape)}: give one loss a token, "
                f"[{batch.num_tokens}]"
            )
        if completion_logits.requires_grad and not has_gradient:
            raise OwnCodeError(
                f"{WHERE}.path: {self.path}.token_losses gave losses without a gradient: compute them from "
                "completion_logits"
            )
        return losses

    def stage_weights(self) -> tuple[float, float]:
        """See ``Loss``. A class without ``stage_weights`` weights all tokens alike."""
        weights = getattr(self.load(), "stage_weights", None)
        return weights() if callable(weights) else (1.0, 1.0)
