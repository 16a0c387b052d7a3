"""A user's own loss, named by its import path. ``docs/extending.md`` has a complete example."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from adaswitch.errors import AdaSwitchError, ConfigError, NonFiniteError, OwnCodeError
from adaswitch.method.losses.base import Loss
from adaswitch.registry.facts import are_weights, run_own_check
from adaswitch.registry.own_code import OwnCode, line_of, reason, require_parameters, running

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
        loaded = self.load()
        run_own_check(loaded, self.path, WHERE)
        self.stage_weights()

    def token_losses(self, batch: "Batch", completion_logits: "Tensor") -> "Tensor":
        """See ``Loss``. Raises ``OwnCodeError`` if the loaded loss fails, or its result cannot be minimised."""
        loaded = self.load()
        with running(f"{self.path}.token_losses", f"{WHERE}.path"):
            losses = loaded.token_losses(batch, completion_logits)
        if _is_not_finite(losses) and _is_not_finite(completion_logits):
            raise NonFiniteError("the student's logits are not finite, and so the losses are not")
        complaint = _complaint(losses, batch.num_tokens)
        if complaint is not None:
            raise OwnCodeError(f"{WHERE}.path: {self.path}.token_losses gave {complaint}")
        if completion_logits.requires_grad and not losses.requires_grad:
            raise OwnCodeError(
                f"{WHERE}.path: {self.path}.token_losses gave losses without a gradient: compute them from "
                "completion_logits"
            )
        return losses

    def is_per_token(self) -> bool:
        """See ``Loss``. A user's own loss sees whole micro-batches, unless its class says ``per_token = True``."""
        return getattr(self.load(), "per_token", False) is True

    @contextmanager
    def differentiating(self) -> Iterator[None]:
        """See ``Loss``. Raises ``OwnCodeError`` if torch cannot compute the gradient; a lack of memory passes."""
        try:
            yield
        except AdaSwitchError:
            raise
        except (Exception, SystemExit) as error:  # a gradient of the user's own may run any code
            if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):
                raise
            raise OwnCodeError(
                f"{WHERE}.path: torch cannot compute the gradient of {self.path}.token_losses: "
                f"{reason(error)}{line_of(error, self.path)}: compute the losses from completion_logits without "
                "changing a tensor in place"
            ) from error

    def stage_weights(self) -> tuple[float, float]:
        """See ``Loss``. A class without such weights weighs all tokens alike."""
        function = getattr(self.load(), "stage_weights", None)
        if not callable(function):
            return (1.0, 1.0)
        with running(f"{self.path}.stage_weights", f"{WHERE}.path"):
            weights = function()
        if not are_weights(weights):
            raise ConfigError(
                f"{WHERE}.path: {self.path}.stage_weights gave {weights!r:.60}: give two numbers from 0 on, of which "
                "one is above 0"
            )
        return float(weights[0]), float(weights[1])


def _is_not_finite(values: object) -> bool:
    return hasattr(values, "isfinite") and not bool(values.isfinite().all())


def _complaint(losses: object, num_tokens: int) -> str | None:
    """What is wrong with a user's ``losses`` of ``num_tokens`` tokens; None if they can be minimised."""
    if not (hasattr(losses, "shape") and hasattr(losses, "isfinite")):
        return f"a {type(losses).__name__} and no tensor: give one loss a token, [{num_tokens}]"
    if tuple(losses.shape) != (num_tokens,):
        return f"the shape {list(losses.shape)}: give one loss a token, [{num_tokens}]"
    if not losses.dtype.is_floating_point:  # type: ignore[attr-defined]
        return f"{losses.dtype} numbers: give floating-point ones"  # type: ignore[attr-defined]
    if not bool(losses.isfinite().all()):
        return "a NaN or an infinity: give finite losses"
    return None
