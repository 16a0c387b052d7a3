"""Looks into model folders without loading a model: are all files there and whole, and do two folders fit each other?

Only the files' heads are read, and vocabularies with the library ``tokenizers``, which takes no time to import.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaswitch.data.hub import cached_folder, check_rest_of_model
from adaswitch.data.model_folder import LENGTHS, check_model_folder
from adaswitch.errors import ModelError

WHOLE_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDICES = tuple(f"{name}.index.json" for name in WHOLE_WEIGHTS)
OTHER_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
"""Names under which an engine may still find weights."""
NO_WEIGHTS = {"training_args.bin", "optimizer.bin"}
TOKENIZERS = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "spiece*",
    "sentencepiece*",
    "tekken*",
    "*.tiktoken",
    "*.model",
)
LFS_POINTER = b"version https://git-lfs"
MAX_HEADER_BYTES = 100_000_000
"""The longest header that the safetensors format allows."""


@dataclass(frozen=True)
class ModelFiles:
    """What the files of a model folder say of the model, as far as it is known without transformers."""

    folder: str
    """The folder or hub name as the settings have it."""
    max_positions: int | None
    """The longest sequence in tokens; None if config.json does not say it under a name that is known here."""
    vocabulary: Mapping[str, int]
    """The ids of the tokens in tokenizer.json; empty without that file."""


def read_model_files(model: str, setting: str) -> ModelFiles:
    """Look into the folder of ``model``, or into the hub's local cache.

    Raises ``ModelError`` with ``setting`` and the file if one is missing, cannot be read or is not whole. A model that
    is still to be had from the hub is left to the loaders.
    """
    check_model_folder(model, setting)
    folder = Path(model) if os.path.isdir(model) else _cached(model)
    if folder is None:
        return ModelFiles(model, None, {})
    config = _json_object(folder / "config.json", setting)
    try:
        _check_weights(folder, setting)
        if not any(next(folder.glob(pattern), None) for pattern in TOKENIZERS):
            raise ModelError(f"{setting}: {model!r} has no tokenizer: copy tokenizer.json into it")
    except ModelError as error:
        if os.path.isdir(model):
            raise
        # The loaders fetch the rest. Without a hub they would ask for it for more than a minute.
        lacks = str(error).removeprefix(f"{setting}: ").partition(": copy")[0]
        check_rest_of_model(model, lacks, setting)
    return ModelFiles(model, _positions(config), _vocabulary(folder, setting))


def _cached(model: str) -> Path | None:
    folder = cached_folder(model)
    return None if folder is None else Path(folder)


def _json_object(path: Path, setting: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{setting}: cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ModelError(f"{setting}: {path} is not JSON: {_advice(path)}") from None
    if not isinstance(document, dict):
        raise ModelError(f"{setting}: {path} holds no JSON object: copy the folder again")
    return document


def _positions(config: Mapping[str, Any]) -> int | None:
    text = config.get("text_config")
    for part in (text if isinstance(text, dict) else {}, config):
        for name in LENGTHS:
            if isinstance(part.get(name), int):
                return int(part[name])
    return None


def _check_weights(folder: Path, setting: str) -> None:
    """Raises ``ModelError`` unless all files of weights that will be loaded are there and whole."""
    files = _weight_files(folder, setting)
    if not files:
        raise ModelError(
            f"{setting}: {str(folder)!r} has no weights (such as model.safetensors): copy the whole folder"
        )
    for path in files:
        _check_whole(path, setting)


def _weight_files(folder: Path, setting: str) -> list[Path]:
    """The files of weights that the libraries would take: a single file, or the shards of an index, or any others."""
    for whole, index in zip(WHOLE_WEIGHTS, INDICES, strict=True):
        if (folder / whole).is_file():
            return [folder / whole]
        if (folder / index).is_file():
            return _shards(folder / index, setting)
    found = (path for pattern in OTHER_WEIGHTS for path in folder.glob(pattern))
    return sorted(path for path in found if path.name not in NO_WEIGHTS)


def _shards(index: Path, setting: str) -> list[Path]:
    weight_map = _json_object(index, setting).get("weight_map")
    names = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []
    shards = [index.with_name(name) for name in names]
    for shard in shards:
        if not shard.is_file():
            raise ModelError(
                f"{setting}: {shard} is missing, which {index.name} names: copy the whole folder"
            )
    return shards


def _check_whole(path: Path, setting: str) -> None:
    """Raises ``ModelError`` for a file of weights that cannot be read, is empty, or ends too early."""
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
            whole = bool(head) and head != LFS_POINTER
            if whole and path.suffix == ".safetensors":
                whole = _is_whole_safetensors(path)
    except OSError as error:
        raise ModelError(f"{setting}: cannot read {path}: {error.strerror}") from None
    if not whole:
        raise ModelError(f"{setting}: {path} is not whole: {_advice(path)}")


def _is_whole_safetensors(path: Path) -> bool:
    """Whether the file has the length that its own header gives: a download or copy may have been cut off."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            return False
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return False
    return path.stat().st_size == 8 + length + max(ends, default=0)


def _advice(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            return "it is a pointer of Git LFS; fetch the file itself with `git lfs pull`"
    return "copy or download it again"


def _vocabulary(folder: Path, setting: str) -> dict[str, int]:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return {}
    from tokenizers import Tokenizer

    try:
        return dict(Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True))
    except Exception as error:  # The library raises plain exceptions.
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{setting}: {path} cannot be read ({reason}): {_advice(path)}") from None


def check_pair(student: ModelFiles, teacher: ModelFiles, setting: str) -> None:
    """Raises ``ModelError`` if the two vocabularies contradict each other, which is one id with two texts.

    Tokens that only one of them has are left to the exact comparison of the tokenizers, as transformers may add some.
    """
    own, theirs = student.vocabulary, teacher.vocabulary
    own_texts, their_texts = ({token_id: text for text, token_id in both.items()} for both in (own, theirs))
    for token_id in sorted(own_texts.keys() & their_texts.keys()):
        text, other = own_texts[token_id], their_texts[token_id]
        if text != other:
            raise ModelError(
                f"{setting}: {teacher.folder!r} and the student {student.folder!r} have different tokenizers (token "
                f"{token_id} is {other!r} and {text!r}): token ids would not mean the same; take a pair of one model "
                "family"
            )
