"""``Rank``: one process of the trainer. A plain class, which ``trainer.ranks.group`` makes a Ray actor of.

All ranks are called with the same arguments at the same time, and work on their parts together.
"""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist
from torch import Tensor

from adaswitch.cluster.weight_arrays import WeightArrays, WeightPieces
from adaswitch.config.run import RunConfig
from adaswitch.method.finite import weights_problem
from adaswitch.method.rollout import Rollout
from adaswitch.processes.cores import compute_with
from trainer.learner import Learner
from trainer.ranks.sharded import Sharded
from trainer.update import Update


class Rank:
    """Rank ``rank`` of ``trainer.num_ranks``."""

    def __init__(self, config: RunConfig, rank: int, device: str, num_threads: int) -> None:
        """``device`` is ``cpu`` or ``cuda``, which is this actor's own GPU."""
        compute_with(num_threads)
        self._config = config
        self._rank = rank
        self._device = device
        self._learner: Learner | None = None

    def is_there(self) -> bool:
        """True, from a rank that is alive."""
        return True

    def address(self) -> tuple[str, int]:
        """Where the other ranks can reach this one: its node's address, and a port that is free."""
        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), int(free.getsockname()[1])

    def join(self, address: tuple[str, int]) -> None:
        """Join the group whose first rank has ``address``. Returns once all ranks have."""
        host, port = address
        dist.init_process_group(
            "nccl" if self._device == "cuda" else "gloo",
            init_method=f"tcp://{host}:{port}",
            rank=self._rank,
            world_size=self._config.trainer.num_ranks,
        )

    def load(self, folder: str, adapters: str | None) -> None:
        """Load the model in ``folder``, and the adapters in the folder ``adapters``, and keep this rank's part."""
        torch.manual_seed(self._config.seed)  # new adapters are the same on all ranks
        trainer = self._config.trainer
        world = Sharded(self._rank, trainer.num_ranks, self._device)
        place = None if adapters is None else Path(adapters)
        self._learner = Learner.from_folder(folder, trainer, self._device, place, world)

    @property
    def learner(self) -> Learner:
        """The learner, once ``load`` was called."""
        assert self._learner is not None, "load was not called"
        return self._learner

    def update(self, rollouts: Sequence[Rollout], step: int) -> Update:
        """See ``Learner.update``. ``rollouts`` are those of the whole step."""
        # What is dropped at random follows from the step, so that a resumed run drops the same.
        torch.manual_seed(self._config.seed + step * self._config.trainer.num_ranks + self._rank)
        return self.learner.update(rollouts, step)

    def weights(self) -> list[WeightArrays] | None:
        """See ``Learner.weights``, in pieces for Ray's object store. None but from the first rank."""
        return self._pieces(self.learner.weights())

    def state_dict(self) -> list[WeightArrays] | None:
        """See ``Learner.state_dict``, in the same form. Names of one tied tensor each have a copy."""
        return self._pieces(self.learner.state_dict())

    def _pieces(self, tensors: Mapping[str, Tensor]) -> list[WeightArrays] | None:
        if self._rank:
            return None
        # One buffer for all pieces would be overwritten by the next piece.
        return [piece for name in tensors for piece in WeightPieces(torch.float32).of({name: tensors[name]})]

    def optimizer_state(self) -> dict[str, Any] | None:
        """See ``Learner.optimizer_state``. None but from the first rank."""
        state = self.learner.optimizer_state()
        return None if self._rank else state

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """See ``Learner.load_optimizer_state``."""
        self.learner.load_optimizer_state(state)

    def restore_masters(self, weights: Mapping[str, Tensor]) -> None:
        """See ``Learner.restore_masters``."""
        self.learner.restore_masters(weights)

    def problem(self, step: int, rate: float | None) -> str | None:
        """What is not finite in this rank's part of the weights after ``step`` updates; None if nothing is."""
        return weights_problem(self.learner.own_parts(), step, rate)
