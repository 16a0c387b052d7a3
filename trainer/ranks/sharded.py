"""``Sharded``: the ``World`` of one rank among several, by PyTorch's FSDP2 (``fully_shard``).

Each rank keeps a part of every weight in float32. The weights of a layer are gathered when the layer computes, and its
gradients are summed over the ranks and divided again. What is outside of the layers (embedding, last norm, head) is one
more such group, which is whole for the time of a forward and a backward pass.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from adaswitch.data.causal_lm import layers_of
from adaswitch.method.packing import level_shares
from adaswitch.method.rollout import Rollout
from trainer.world import Inside

T = TypeVar("T")


class Sharded:
    """Rank ``rank`` of ``num_ranks``. torch's process group must have been joined."""

    def __init__(self, rank: int, num_ranks: int, device: str) -> None:
        self._rank = rank
        self._num_ranks = num_ranks
        self._device = device
        self._mesh = init_device_mesh(device.split(":")[0], (num_ranks,))

    def spread(self, model: nn.Module, dtype: str) -> Inside:
        """See ``World``. With ``dtype`` bfloat16 the layers' weights are gathered, and compute, in bfloat16."""
        policy = MixedPrecisionPolicy()
        if dtype == "bfloat16":
            # The stream of hidden states between layers stays float32, as in a single process.
            policy = MixedPrecisionPolicy(
                param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
            )
        for layer in layers_of(model):
            fully_shard(layer, mesh=self._mesh, mp_policy=policy)
        root = _Root(model)
        fully_shard(root, mesh=self._mesh)
        for module in root.modules():
            if isinstance(module, FSDPModule):
                # The loss of a rank is its part of a sum, so gradients are added up and not averaged. Without the
                # second line gloo, which knows no other way to divide, refuses the first.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        return root.run

    def shares(self, rollouts: Sequence[Rollout]) -> tuple[Sequence[Rollout], list[Sequence[Rollout]]]:
        """See ``World``: about as many tokens for each rank."""
        shares = level_shares(rollouts, self._num_ranks)
        return shares[self._rank], list(shares)

    def sum(self, values: Tensor) -> Tensor:
        """See ``World``."""
        summed = values.to(self._device, copy=True)
        dist.all_reduce(summed)
        return summed.to(values.device)

    def whole(self, tensor: Tensor) -> Tensor:
        """See ``World``."""
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """See ``World``. Each rank has the whole tensor, so nothing travels between ranks."""
        if not isinstance(like, DTensor):
            return whole.to(like.device)
        return distribute_tensor(
            whole.to(self._device, like.dtype), like.device_mesh, like.placements, src_data_rank=None
        )


class _Root(nn.Module):
    """The module at whose call FSDP gathers what is outside of the layers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        """Do ``work`` with the weights outside of the layers whole."""
        return work()

    def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``. What had no gradient to compute is divided again at once."""
        result: T = self(work)
        if not torch.is_grad_enabled():
            cast(FSDPModule, self).reshard()
        return result
