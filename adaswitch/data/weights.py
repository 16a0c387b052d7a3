"""A fingerprint of a model's weights, which tells whether a folder still holds the model that it held before."""

import hashlib
import os
from pathlib import Path

from adaswitch.data.hub import cached_folder

_FILES = ("*.safetensors", "*.bin", "*.gguf", "config.json")
_PART = 2**20
_NUM_PARTS = 64


def weights_sha256(model: str) -> str | None:
    """A checksum over the weights and the config of a model folder, or of a hub model in the local cache.

    Of a file of more than 64 MiB, 64 parts of 1 MiB count, evenly spaced from its first to its last byte. None if the
    model is not on this machine.
    """
    folder = model if os.path.isdir(model) else cached_folder(model)
    if folder is None:
        return None
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _FILES for path in Path(folder).glob(pattern) if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for number in range(_NUM_PARTS):
                whole = size <= _NUM_PARTS * _PART
                file.seek(number * _PART if whole else (size - _PART) * number // (_NUM_PARTS - 1))
                digest.update(file.read(_PART))
    return digest.hexdigest()
