"""The optimizer of a run: AdamW of torch, or of torchao with means in 8 bits."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from adaswitch.method.learning_rate import OptimizerConfig


def make_optimizer(config: OptimizerConfig, parameters: Sequence[Parameter], device: str) -> Optimizer:
    """The optimizer that ``config`` asks for, for ``parameters`` on ``device``."""
    if config.kind == "adamw_8bit":
        from torchao.optim import AdamW8bit

        made: Optimizer = AdamW8bit(
            parameters,
            lr=config.learning_rate,
            betas=(config.betas[0], config.betas[1]),
            weight_decay=config.weight_decay,
        )
        return made
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=(config.betas[0], config.betas[1]),
        weight_decay=config.weight_decay,
        fused=True if device.startswith("cuda") else None,
    )


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Let the next step of ``optimizer`` have the learning ``rate``, which torchao keeps as a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def state_bytes(state: Mapping[Any, Mapping[str, object]]) -> int:
    """The bytes of an optimizer's ``state``, by parameter and by name. A mean in 8 bits says that it were float32."""
    tensors = [value for values in state.values() for value in values.values() if isinstance(value, Tensor)]
    return sum(_bytes(tensor) for tensor in tensors)


def _bytes(tensor: Tensor) -> int:
    flatten = getattr(tensor, "__tensor_flatten__", None)  # of tensors that are made of others
    if flatten is None:
        return tensor.numel() * tensor.element_size()
    names, _ = flatten()
    return sum(_bytes(getattr(tensor, name)) for name in names)
