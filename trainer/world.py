"""``World``: over how many processes a learner's work is spread. ``Alone`` is one process, which has all of it.

With several processes, ranks, each holds a part of every weight, and computes the gradient of a part of the rollouts.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from torch import Tensor, nn

from adaswitch.method.rollout import Rollout

T = TypeVar("T")


class Inside(Protocol):
    """Calls what computes with the whole model, at a time when its weights are whole."""

    def __call__(self, work: Callable[[], T]) -> T:
        """The result of ``work``."""


def call(work: Callable[[], T]) -> T:
    """The result of ``work``, where nothing has to be gathered first."""
    return work()


class World(Protocol):
    """One learner's place among all."""

    def spread(self, model: nn.Module, dtype: str) -> Inside:
        """Keep only this rank's part of the weights. What is returned calls the model from then on."""

    def shares(self, rollouts: Sequence[Rollout]) -> tuple[Sequence[Rollout], list[Sequence[Rollout]]]:
        """This rank's part of a step's ``rollouts``, and the parts of all ranks."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over all ranks."""

    def whole(self, tensor: Tensor) -> Tensor:
        """The whole of a tensor of which each rank has a part. All ranks must ask at the same time."""

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """This rank's part of a ``whole`` tensor, divided as ``like`` is."""


class Alone:
    """A single process."""

    def spread(self, model: nn.Module, dtype: str) -> Inside:
        """See ``World``: nothing is spread."""
        return call

    def shares(self, rollouts: Sequence[Rollout]) -> tuple[Sequence[Rollout], list[Sequence[Rollout]]]:
        """See ``World``: all of them."""
        return rollouts, [rollouts]

    def sum(self, values: Tensor) -> Tensor:
        """See ``World``."""
        return values

    def whole(self, tensor: Tensor) -> Tensor:
        """See ``World``."""
        return tensor

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """See ``World``."""
        return whole.to(like.device, like.dtype) if like.is_floating_point() else whole.to(like.device)


ALONE = Alone()
"""It has no state, so one is enough."""
