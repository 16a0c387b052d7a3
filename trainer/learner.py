"""``Learner``: the student model, its optimizer, and one update from a step's rollouts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from adaswitch.config.trainer import TrainerConfig
from adaswitch.data.models import load
from adaswitch.errors import NonFiniteError
from adaswitch.method.batching import Batch, micro_batches
from adaswitch.method.learning_rate import learning_rate
from adaswitch.method.rollout import Rollout
from adaswitch.method.step_loss import loss_share, total_weight


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


class Learner:
    """Weights and optimizer are float32; the forward and backward passes run in the config's dtype."""

    def __init__(self, model: PreTrainedModel, config: TrainerConfig, device: str) -> None:
        self.model = model.to(device).float()  # type: ignore[arg-type]
        self.device = device
        self._config = config
        if config.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.optimizer.learning_rate,
            betas=(config.optimizer.betas[0], config.optimizer.betas[1]),
            weight_decay=config.optimizer.weight_decay,
        )

    @classmethod
    def from_folder(cls, folder: str, config: TrainerConfig, device: str) -> "Learner":
        """Start from a Hugging Face folder, or a name on the hub."""
        model = load(AutoModelForCausalLM.from_pretrained, folder, "student.model", dtype=torch.float32)
        return cls(model, config, device)

    def weights(self) -> dict[str, Tensor]:
        """The parameters by name. Tied parameters appear only once."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def update(self, rollouts: Sequence[Rollout], step: int) -> Update:
        """One optimizer step on all ``rollouts``, whose loss is the weighted mean over all their tokens.

        If loss or gradient is not finite, raises ``NonFiniteError`` and leaves the weights unchanged.
        """
        self.model.train()
        rate = learning_rate(self._config.optimizer, step, self._config.num_steps)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss, losses, by_teacher = self._backward(rollouts)
        grad_norm = float(
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.optimizer.max_grad_norm)
        )
        _refuse_non_finite(loss, grad_norm, step)
        self.optimizer.step()
        means = _means_by_writer(losses, by_teacher)
        return Update(loss, *means, grad_norm, rate, num_tokens=len(losses))

    def _backward(self, rollouts: Sequence[Rollout]) -> tuple[float, Tensor, Tensor]:
        """The step's loss, whose gradient is left in the model; the loss of each token; who wrote each token."""
        weight = total_weight(self._config.loss, rollouts)
        shares, losses, by_teacher = [], [], []
        for batch in micro_batches(rollouts, self._config.micro_batch_size):
            batch = batch.to(self.device)
            batch_losses = self._token_losses(batch)
            share = loss_share(self._config.loss, batch_losses, batch.by_teacher, weight)
            share.backward()
            shares.append(share.detach())
            losses.append(batch_losses.detach())
            by_teacher.append(batch.by_teacher)
        return float(torch.stack(shares).sum()), torch.cat(losses), torch.cat(by_teacher)

    def _token_losses(self, batch: Batch) -> Tensor:
        with torch.autocast(
            self.device.split(":")[0], torch.bfloat16, enabled=self._config.dtype == "bfloat16"
        ):
            logits = self.model(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                position_ids=batch.position_ids,
                use_cache=False,
                logits_to_keep=batch.num_completion_columns + 1,
            ).logits
        return self._config.loss.token_losses(batch, batch.completion_logits(logits))


def _refuse_non_finite(loss: float, grad_norm: float, step: int) -> None:
    for name, value in (("loss", loss), ("gradient", grad_norm)):
        if not math.isfinite(value):
            raise NonFiniteError(
                f"the {name} of step {step} is {value}; the weights are left as they were: "
                "lower trainer.optimizer.learning_rate, or train in float32"
            )


def _means_by_writer(losses: Tensor, by_teacher: Tensor) -> tuple[float | None, float | None]:
    """The mean loss on the student's tokens, and on all other tokens. A mean without tokens is None."""

    def mean(values: Tensor) -> float | None:
        return float(values.mean()) if len(values) else None

    return mean(losses[~by_teacher]), mean(losses[by_teacher])
