"""Weights as numpy arrays, which Ray's object store takes with one copy and hands out with none.

Ray copies a numpy array into the object store once, and every process of the node then reads the array where it lies. A
torch tensor would be copied into a Python object first, and out of it again. numpy has no bfloat16, so an array of
bfloat16 weights holds the same bits as whole numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

PIECE_BYTES = 64 * 2**20
_BITS = {torch.bfloat16: torch.int16}
"""The number types that numpy lacks, each with a type of the same size that stands for it."""


@dataclass(frozen=True)
class WeightArray:
    """One parameter: an array, and the name of torch's number type, as in ``bfloat16``."""

    array: NDArray[np.generic]
    dtype: str


WeightArrays = dict[str, WeightArray]
"""Parameters by name."""


class WeightPieces:
    """Turns a model's weights into arrays, a piece at a time, for one set of weights after the other.

    Weights that have the right number type and are on the CPU become arrays without a copy. All others are converted in
    a buffer of the size of a piece, which is kept: to get fresh memory from the system for each set of weights takes
    longer than the conversion.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        """``dtype`` is the number type of the arrays."""
        self._buffer = torch.empty(0, dtype=dtype)

    def of(self, weights: Mapping[str, Tensor]) -> Iterator[WeightArrays]:
        """Yields pieces of at most ``PIECE_BYTES``, or of one larger parameter. A piece is valid until the next one."""
        item_bytes = self._buffer.element_size()
        piece: dict[str, Tensor] = {}
        for name, tensor in weights.items():
            if (
                piece
                and sum(each.numel() for each in piece.values()) + tensor.numel() > PIECE_BYTES // item_bytes
            ):
                yield self._arrays(piece)
                piece = {}
            piece[name] = tensor.detach()
        if piece:
            yield self._arrays(piece)

    def _arrays(self, piece: Mapping[str, Tensor]) -> WeightArrays:
        foreign = {name: tensor for name, tensor in piece.items() if not self._fits(tensor)}
        size = sum(tensor.numel() for tensor in foreign.values())
        if size > self._buffer.numel():
            self._buffer = torch.empty(size, dtype=self._buffer.dtype)
        parts = self._buffer[:size].split([tensor.numel() for tensor in foreign.values()])
        converted = {
            name: part.view(tensor.shape).copy_(tensor)
            for (name, tensor), part in zip(foreign.items(), parts, strict=True)
        }
        return {name: _to_array(converted.get(name, tensor)) for name, tensor in piece.items()}

    def _fits(self, tensor: Tensor) -> bool:
        return tensor.dtype == self._buffer.dtype and tensor.device.type == "cpu" and tensor.is_contiguous()


def _to_array(tensor: Tensor) -> WeightArray:
    bits = tensor.view(_BITS.get(tensor.dtype, tensor.dtype))
    return WeightArray(bits.numpy(), str(tensor.dtype).removeprefix("torch."))


def arrays_to_weights(arrays: WeightArrays) -> dict[str, Tensor]:
    """The arrays as tensors, without a copy. Arrays from the object store are read-only, so nothing may be written."""
    # ``from_dlpack`` takes read-only arrays as they are, where ``from_numpy`` would warn of them.
    return {name: from_dlpack(each.array).view(getattr(torch, each.dtype)) for name, each in arrays.items()}
