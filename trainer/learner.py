"""``Learner``: the student model, its optimizer, and one update from a step's rollouts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from adaswitch.config.trainer import TrainerConfig
from adaswitch.data.causal_lm import layers_of, load_configured
from adaswitch.data.model_config import read_model_config
from adaswitch.errors import ConfigError, NonFiniteError
from adaswitch.method.batching import Batch
from adaswitch.method.finite import explained, weights_problem
from adaswitch.method.learning_rate import last_learning_rate, learning_rate
from adaswitch.method.low_rank import as_published
from adaswitch.method.rollout import Rollout
from adaswitch.method.step_loss import total_weight, weighed
from trainer.compiled import CompiledLayers
from trainer.forward import Forward
from trainer.model_files import read_own_files
from trainer.optimizers import make_optimizer, set_learning_rate, state_bytes
from trainer.update import NUM_SUMS, Update, means_by_writer, refuse_non_finite, sums_by_writer
from trainer.world import ALONE, World

if TYPE_CHECKING:
    from peft import PeftModel

MOST_LOOKED_AT = 32
NO_FILES: Mapping[str, bytes] = MappingProxyType({})


class Learner:
    """Weights and optimizer are float32; the forward and backward passes run in the config's dtype.

    With ``trainer.lora`` the adapters are trained alone. They stand in the layers of ``model``.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: TrainerConfig,
        device: str,
        own_files: Mapping[str, bytes] = NO_FILES,
        adapters: "PeftModel | None" = None,
        saved_dtype: torch.dtype = torch.float32,
        world: World = ALONE,
    ) -> None:
        """``own_files`` are the contents of the model folder's files that a checkpoint keeps as they are, by name.

        ``adapters`` are those that stand in ``model``. The weights are saved as ``saved_dtype``. ``world`` says which
        part of the weights and of the rollouts is this process's.
        """
        self.own_files = own_files
        self.adapters = adapters
        self.saved_dtype = saved_dtype
        self.model = model.to(device).float()  # type: ignore[arg-type]
        self.device = device
        self._config = config
        self._world = world
        self.is_whole = True
        """Whether the weights are those after a whole update. An error amid an update leaves them in between."""
        if config.gradient_checkpointing:
            _checkpoint_activations(self.model)
        self._inside = world.spread(self.model, config.dtype)
        self._forward = Forward(self.model, config, device, self._inside)
        self._computing = CompiledLayers(self.model).in_place if config.compile else nullcontext
        self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(config.optimizer, self._trained, device)

    @classmethod
    def from_folder(
        cls,
        folder: str,
        config: TrainerConfig,
        device: str,
        adapters: Path | None = None,
        world: World = ALONE,
    ) -> "Learner":
        """Start from a Hugging Face folder, or a name on the hub. Saved weights have the number type of its weights.

        With ``trainer.lora`` the adapters are those in the folder ``adapters``, or else new ones.
        """
        configured = read_model_config(folder, "student.model")
        model = load_configured(configured, "student.model", torch.float32)
        stored = getattr(torch, configured.stored_dtype or "float32")
        put_in = put_adapters(model, config, adapters)
        return cls(model, config, device, read_own_files(folder), put_in, stored, world)

    def weights(self) -> dict[str, Tensor]:
        """What students need: the parameters by name, tied ones only once, or the factors of the adapters alone."""
        if self.adapters is None:
            weights = self._parameters()
        else:
            from adaswitch.data.lora import factors_of

            weights = as_published(factors_of(self.model))
        return {name: self._world.whole(weight) for name, weight in weights.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """The model's whole state by name, in float32. Tied weights are one tensor."""
        return {name: self._world.whole(tensor) for name, tensor in self.model.state_dict().items()}

    def own_parts(self) -> dict[str, Tensor]:
        """What this process has of the parameters."""
        return {name: _local(parameter) for name, parameter in self._parameters().items()}

    def _parameters(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's whole state, in the same form from any number of processes."""
        return _mapped(self.optimizer.state_dict(), lambda value, _: self._world.whole(value))

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Take what ``optimizer_state`` gave, in this or another number of processes."""
        self.optimizer.load_state_dict(_mapped(state, self._own_moment))

    def _own_moment(self, value: Tensor, number: int) -> Tensor:
        """This process's part of a ``value`` of the optimizer's for the parameter with this ``number``."""
        parameter = self._trained[number]
        return self._world.part(value, parameter) if value.shape == parameter.shape else value

    @torch.no_grad()
    def restore_masters(self, weights: Mapping[str, Tensor]) -> None:
        """Take the ``masters`` of a checkpoint, by the same names. Raises ``KeyError`` for those of another model."""
        parameters = self._parameters()
        for name, weight in weights.items():
            parameters[name].copy_(self._world.part(weight, parameters[name]))

    @property
    def num_bytes(self) -> int:
        """The bytes that the weights and the optimizer's state take."""
        weights = sum(tensor.numel() * tensor.element_size() for tensor in self.own_parts().values())
        return weights + state_bytes(self.optimizer.state)

    def require_finite_weights(self, step: int) -> None:
        """Raises ``NonFiniteError`` with the cause if a weight after ``step`` updates is not finite."""
        problem = weights_problem(self.own_parts(), step, self._rate_before(step))
        if problem is not None:
            raise NonFiniteError(problem)

    @contextmanager
    def explaining(self, step: int) -> Iterator[None]:
        """Turn a ``NonFiniteError`` inside into one that says how the weights after ``step`` updates are to blame."""
        try:
            yield
        except NonFiniteError as error:
            rate = self._rate_before(step)
            raise NonFiniteError(explained(error, self.own_parts(), step, rate)) from error

    def _rate_before(self, step: int) -> float | None:
        """The learning rate of the last of ``step`` updates; None before the first."""
        return last_learning_rate(self._config.optimizer, step, self._config.num_steps)

    def update(self, rollouts: Sequence[Rollout], step: int) -> Update:
        """One optimizer step on all ``rollouts``, whose loss is the weighted mean over all their tokens.

        If loss or gradient is not finite, raises ``NonFiniteError`` and leaves the weights unchanged.
        """
        self._compute_as_in_inference()
        rate = learning_rate(self._config.optimizer, step, self._config.num_steps)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        with self.explaining(step):
            rollouts = weighed(self._config.loss, rollouts)
            loss, *means = self._backward(rollouts)
            norm = torch.nn.utils.clip_grad_norm_(self._trained, self._config.optimizer.max_grad_norm)
            grad_norm = float(self._world.whole(norm))
            refuse_non_finite(loss, grad_norm, step, rate)
            self._refuse_overflow(rate, step)
        self.is_whole = False
        self.optimizer.step()
        self.is_whole = True
        num_tokens = sum(rollout.num_tokens for rollout in rollouts)
        num_counted = sum(int((rollout.weights > 0).sum()) for rollout in rollouts)
        return Update(loss, means[0], means[1], grad_norm, rate, num_tokens, num_counted / num_tokens)

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
        for layer in layers_of(self.model):
            layer.training = self._config.gradient_checkpointing

    def _drop_in_adapters(self) -> None:
        """The dropout of adapters is a setting of the training."""
        for name, module in self.model.named_modules():
            if self.adapters is not None and name.endswith("lora_dropout"):
                module.train()

    def _backward(self, rollouts: Sequence[Rollout]) -> tuple[float, float | None, float | None]:
        """The step's loss, whose gradient is left in the model, and the mean losses of ``means_by_writer``."""
        weight = total_weight(rollouts)
        self._forward.look_at(rollouts, _first_tokens(rollouts[0]).to(self.device))
        self._drop_in_adapters()
        totals = torch.zeros(1 + NUM_SUMS, dtype=torch.float64)
        for batch, counts in self._batches(rollouts):
            with self._computing():
                share, losses = self._inside(lambda batch=batch: self._forward.share(batch, weight))  # type: ignore[misc]
                with self._config.loss.differentiating():
                    share.backward()
            if counts:
                sums = sums_by_writer(losses.double().cpu(), batch.by_teacher.cpu())
                totals += torch.cat([share.detach().double().cpu()[None], sums])
        totals = self._world.sum(totals)
        return float(totals[0]), *means_by_writer(totals[1:])

    def _batches(self, rollouts: Sequence[Rollout]) -> Iterator[tuple[Batch, bool]]:
        """This process's micro-batches, and whether they count.

        Ranks compute together, so each has as many micro-batches as any. Where one has fewer, a rollout is computed
        once more, and counts nothing.
        """
        own, shares = self._world.shares(rollouts)
        most = max(self._forward.num_batches(share) for share in shares)
        num_own = self._forward.num_batches(own)
        yield from ((batch, True) for batch in self._forward.batches(own))
        if num_own < most:
            batch = next(self._forward.batches((own or rollouts)[:1]))
            spare = replace(batch, weights=torch.zeros_like(batch.weights))
            yield from [(spare, False)] * (most - num_own)


def _first_tokens(rollout: Rollout) -> Tensor:
    """``[1, m]``: few enough that their logits are little memory."""
    return torch.tensor([(rollout.prompt.token_ids + rollout.completion_token_ids)[:MOST_LOOKED_AT]])


def put_adapters(model: PreTrainedModel, config: TrainerConfig, folder: Path | None) -> "PeftModel | None":
    """The adapters that were put into ``model``; None without ``trainer.lora``."""
    if config.lora is None:
        return None
    from adaswitch.data.lora import add_adapters, load_adapters

    return add_adapters(model, config.lora) if folder is None else load_adapters(model, folder)


def _checkpoint_activations(model: PreTrainedModel) -> None:
    """Have activations computed again in the backward pass. Raises ``ConfigError`` if the model's class cannot."""
    try:
        model.gradient_checkpointing_enable()
    except ValueError as error:
        raise ConfigError(
            f"trainer.gradient_checkpointing: {str(error).splitlines()[0]}: set it to false"
        ) from None


def _local(tensor: Tensor) -> Tensor:
    """The part of a divided tensor that is here."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _mapped(state: dict[str, Any], change: Callable[[Tensor, int], Tensor]) -> dict[str, Any]:
    """An optimizer's ``state`` with each tensor as ``change`` makes it, which is given the parameter's number too."""
    changed = {
        number: {
            name: change(value, number) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    return {**state, "state": changed}
