"""``Learner``: the student model, its optimizer, and one update from a step's rollouts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from adaswitch.config.trainer import TrainerConfig
from adaswitch.data.causal_lm import load_model
from adaswitch.errors import ConfigError, NonFiniteError
from adaswitch.method.finite import explained, weights_problem
from adaswitch.method.learning_rate import last_learning_rate, learning_rate
from adaswitch.method.rollout import Rollout
from adaswitch.method.step_loss import total_weight, weighed
from trainer.forward import Forward
from trainer.model_files import read_own_files

MOST_LOOKED_AT = 32
NO_FILES: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True)
class Update:
    """The figures of one update. Losses are in nats per token."""

    loss: float
    """The loss that was minimised: the mean over all tokens, where each token is weighted by who wrote it."""
    loss_on_student_tokens: float | None
    """The plain mean over the tokens that the student wrote, whatever their weight; None without such tokens."""
    loss_on_teacher_tokens: float | None
    """The plain mean over all tokens that the student did not write; None without such tokens."""
    grad_norm: float
    """The norm of the gradient before clipping."""
    learning_rate: float
    num_tokens: int
    counted_share: float
    """The share of the tokens that count in the loss: whose weight is above 0."""


class Learner:
    """Weights and optimizer are float32; the forward and backward passes run in the config's dtype."""

    def __init__(
        self,
        model: PreTrainedModel,
        config: TrainerConfig,
        device: str,
        own_files: Mapping[str, bytes] = NO_FILES,
    ) -> None:
        """``own_files`` are the contents of the model folder's files that a checkpoint keeps as they are, by name."""
        self.own_files = own_files
        self.model = model.to(device).float()  # type: ignore[arg-type]
        self.device = device
        self._config = config
        self._forward = Forward(self.model, config, device)
        self.is_whole = True
        """Whether the weights are those after a whole update. An error amid an update leaves them in between."""
        if config.gradient_checkpointing:
            _checkpoint_activations(self.model)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.optimizer.learning_rate,
            betas=(config.optimizer.betas[0], config.optimizer.betas[1]),
            weight_decay=config.optimizer.weight_decay,
        )

    @classmethod
    def from_folder(cls, folder: str, config: TrainerConfig, device: str) -> "Learner":
        """Start from a Hugging Face folder, or a name on the hub."""
        model = load_model(folder, "student.model", torch.float32)
        return cls(model, config, device, read_own_files(folder))

    def weights(self) -> dict[str, Tensor]:
        """The parameters by name. Tied parameters appear only once."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    @property
    def num_bytes(self) -> int:
        """The bytes that the weights and the optimizer's state take."""
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        tensors = [*self.weights().values(), *(value for value in states if isinstance(value, Tensor))]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def require_finite_weights(self, step: int) -> None:
        """Raises ``NonFiniteError`` with the cause if a weight after ``step`` updates is not finite."""
        problem = weights_problem(self.weights(), step, self._rate_before(step))
        if problem is not None:
            raise NonFiniteError(problem)

    @contextmanager
    def explaining(self, step: int) -> Iterator[None]:
        """Turn a ``NonFiniteError`` inside into one that says how the weights after ``step`` updates are to blame."""
        try:
            yield
        except NonFiniteError as error:
            rate = self._rate_before(step)
            raise NonFiniteError(explained(error, self.weights(), step, rate)) from error

    def _rate_before(self, step: int) -> float | None:
        """The learning rate of the last of ``step`` updates; None before the first."""
        return last_learning_rate(self._config.optimizer, step, self._config.num_steps)

    def update(self, rollouts: Sequence[Rollout], step: int) -> Update:
        """One optimizer step on all ``rollouts``, whose loss is the weighted mean over all their tokens.

        If loss or gradient is not finite, raises ``NonFiniteError`` and leaves the weights unchanged.
        """
        self._compute_as_in_inference()
        rate = learning_rate(self._config.optimizer, step, self._config.num_steps)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with self.explaining(step):
            rollouts = weighed(self._config.loss, rollouts)
            loss, losses, by_teacher = self._backward(rollouts)
            grad_norm = float(
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.optimizer.max_grad_norm)
            )
            _refuse_non_finite(loss, grad_norm, step, rate)
            self._refuse_overflow(rate, step)
        self.is_whole = False
        self.optimizer.step()
        self.is_whole = True
        means = _means_by_writer(losses, by_teacher)
        num_counted = sum(int((rollout.weights > 0).sum()) for rollout in rollouts)
        return Update(loss, *means, grad_norm, rate, len(losses), num_counted / len(losses))

    def _refuse_overflow(self, rate: float, step: int) -> None:
        """Raises ``NonFiniteError`` for a learning rate at which AdamW's first updates are beyond float32."""
        if rate / (1.0 - self._config.optimizer.betas[0]) > torch.finfo(torch.float32).max:
            raise NonFiniteError(
                f"the update of step {step} is not finite, at a learning rate of {rate:.3g}: "
                "lower trainer.optimizer.learning_rate"
            )

    def _compute_as_in_inference(self) -> None:
        """Leave the mode in which models drop parts at random: the loss is about the model that writes.

        A layer whose activations are computed again looks at its own mode alone.
        """
        self.model.eval()
        for module in self.model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = self._config.gradient_checkpointing

    def _backward(self, rollouts: Sequence[Rollout]) -> tuple[float, Tensor, Tensor]:
        """The step's loss, whose gradient is left in the model; the loss of each token; who wrote each token."""
        weight = total_weight(rollouts)
        shares, losses, by_teacher = [], [], []
        self._forward.look_at(_first_tokens(rollouts[0]).to(self.device))
        for batch in self._forward.batches(rollouts):
            share, batch_losses = self._forward.share(batch, weight)
            with self._config.loss.differentiating():
                share.backward()
            shares.append(share.detach())
            losses.append(batch_losses)
            by_teacher.append(batch.by_teacher)
        return float(torch.stack(shares).sum()), torch.cat(losses), torch.cat(by_teacher)


def _first_tokens(rollout: Rollout) -> Tensor:
    """``[1, m]``: few enough that their logits are little memory."""
    return torch.tensor([(rollout.prompt.token_ids + rollout.completion_token_ids)[:MOST_LOOKED_AT]])


def _checkpoint_activations(model: PreTrainedModel) -> None:
    """Have activations computed again in the backward pass. Raises ``ConfigError`` if the model's class cannot."""
    try:
        model.gradient_checkpointing_enable()
    except ValueError as error:
        raise ConfigError(
            f"trainer.gradient_checkpointing: {str(error).splitlines()[0]}: set it to false"
        ) from None


def _refuse_non_finite(loss: float, grad_norm: float, step: int, rate: float) -> None:
    for name, value in (("loss", loss), ("gradient", grad_norm)):
        if not math.isfinite(value):
            raise NonFiniteError(
                f"the {name} of step {step} is {value}, at a learning rate of {rate:.3g}; the weights are left as "
                "they were: lower trainer.optimizer.learning_rate, or train in float32"
            )


def _means_by_writer(losses: Tensor, by_teacher: Tensor) -> tuple[float | None, float | None]:
    """The mean loss on the student's tokens, and on all other tokens. A mean without tokens is None."""

    def mean(values: Tensor) -> float | None:
        return float(values.mean()) if len(values) else None

    return mean(losses[~by_teacher]), mean(losses[by_teacher])
