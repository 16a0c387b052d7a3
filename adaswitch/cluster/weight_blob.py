"""Weights as a blob: safetensors bytes in a numpy array of uint8.

Ray's object store gives such an array to every process of a node without a copy. An array of bytes can hold bfloat16
as well as float32.
"""

from collections.abc import Mapping

import numpy as np
from safetensors.torch import load, save
from torch import Tensor

from adaswitch.cluster.weight_board import Blob


def weights_to_blob(weights: Mapping[str, Tensor]) -> Blob:
    """The named tensors as one array of bytes."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    return np.frombuffer(save(contiguous), dtype=np.uint8)


def blob_to_weights(blob: Blob) -> dict[str, Tensor]:
    """The inverse of ``weights_to_blob``."""
    return load(blob.tobytes())
