"""``Learner``: the student model, its optimizer, and one update from a step's rollouts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from adaswitch.batching import Batch, micro_batches
from adaswitch.config import TrainerConfig
from adaswitch.errors import NonFiniteError
from adaswitch.io.models import load
from adaswitch.losses import token_losses
from adaswitch.rollout import Rollout
from adaswitch.schedule import learning_rate


@dataclass(frozen=True)
class Update:
    """What one update did: ``loss`` in nats a token, split by who wrote the token (None where nobody did)."""

    loss: float
    loss_on_student_tokens: float | None
    loss_on_teacher_tokens: float | None
    grad_norm: float
    learning_rate: float
    num_tokens: int


class Learner:
    """Weights and optimizer are float32; forward and backward run in the config's dtype."""

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
        """The parameters by name, each tied one once."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def update(self, rollouts: Sequence[Rollout], step: int) -> Update:
        """One optimizer step on all of ``rollouts``: their loss is the mean over all completion tokens."""
        self.model.train()
        rate = learning_rate(self._config.optimizer, step, self._config.num_steps)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        num_tokens = sum(rollout.num_tokens for rollout in rollouts)
        losses, by_teacher = [], []
        for batch in micro_batches(rollouts, self._config.micro_batch_size):
            batch = batch.to(self.device)
            batch_losses = self._token_losses(batch)
            (batch_losses.sum() / num_tokens).backward()
            losses.append(batch_losses.detach())
            by_teacher.append(batch.by_teacher)
        grad_norm = float(
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.optimizer.max_grad_norm)
        )
        self._refuse_non_finite(grad_norm, step)
        self.optimizer.step()
        return _summary(torch.cat(losses), torch.cat(by_teacher), grad_norm, rate)

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
        return token_losses(self._config.loss, batch, batch.completion_logits(logits))

    def _refuse_non_finite(self, grad_norm: float, step: int) -> None:
        if not torch.isfinite(torch.tensor(grad_norm)):
            raise NonFiniteError(
                f"the gradient of step {step} is {grad_norm}; the weights are left as they were: "
                "lower trainer.optimizer.learning_rate, or train in float32"
            )


def _summary(losses: Tensor, by_teacher: Tensor, grad_norm: float, rate: float) -> Update:
    def mean(values: Tensor) -> float | None:
        return float(values.mean()) if len(values) else None

    return Update(
        loss=float(losses.mean()),
        loss_on_student_tokens=mean(losses[~by_teacher]),
        loss_on_teacher_tokens=mean(losses[by_teacher]),
        grad_norm=grad_norm,
        learning_rate=rate,
        num_tokens=len(losses),
    )
