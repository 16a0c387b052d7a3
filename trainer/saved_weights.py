"""The weights of a checkpoint: what was trained, with adapters merged, in the number type of the student's folder."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from adaswitch.method.low_rank import Factors


@torch.no_grad()
def saved_weights(
    model: PreTrainedModel, state: Mapping[str, Tensor], dtype: torch.dtype, has_adapters: bool
) -> dict[str, Tensor]:
    """The whole ``state`` of ``model`` as it is saved: without adapters, which are merged, and in ``dtype``.

    Tied weights stay one tensor, by which transformers knows them. A number that float16 has no room for would be
    infinite, so such weights stay as they are.
    """
    names, factors = _names_and_factors(model, state, has_adapters)
    made: dict[tuple[int, torch.Size], Tensor] = {}
    saved: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name not in names:
            continue
        key = (tensor.data_ptr(), tensor.shape)
        if key not in made or not tensor.numel():
            own = factors.get(names[name])
            made[key] = _cast(tensor if own is None else own.added_to(tensor), dtype)
        saved[names[name]] = made[key]
    return saved


def masters(
    model: PreTrainedModel, state: Mapping[str, Tensor], dtype: torch.dtype, has_adapters: bool
) -> dict[str, Tensor]:
    """Of the whole ``state`` the float32 weights that a model saved in ``dtype`` loses, tied ones only once.

    There are none if it is saved in float32, or if the adapters are saved, which are all that was trained.
    """
    if dtype == torch.float32 or has_adapters:
        return {}
    return {name: state[name] for name, _ in model.named_parameters()}


def _names_and_factors(
    model: PreTrainedModel, state: Mapping[str, Tensor], has_adapters: bool
) -> tuple[dict[str, str], dict[str, Factors]]:
    """The names of the model's state with those that they are saved under, and what adapters add to them."""
    if not has_adapters:
        return {name: name for name in state}, {}
    from adaswitch.data.lora import factors_of, own_names

    return own_names(model), factors_of(model, state)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if dtype == torch.float16 and tensor.numel() and tensor.abs().max() > torch.finfo(dtype).max:
        return tensor
    return tensor.to(dtype)
