"""A head in a model's files that differs from the embedding, though config.json says that both are one.

transformers computes with such a head, and vLLM with the embedding: two models from one folder.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import safe_open

from adaswitch.data.model_config import ModelConfig
from adaswitch.errors import ModelError

HEAD = "lm_head.weight"
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
"""How the names of the head and of the embedding end."""
ROWS = 4096
"""Rows that are compared at a time."""


def refuse_second_head(model: ModelConfig, setting: str) -> None:
    """Raises ``ModelError`` if the safetensors files of ``model`` have such a head. Other files are not looked at."""
    if not getattr(model.text, "tie_word_embeddings", False) or not Path(model.folder).is_dir():
        return
    if _differ(Path(model.folder)):
        raise ModelError(second_head_words(model, setting))


def second_head_words(model: ModelConfig, setting: str) -> str:
    """What is wrong with the folder, and what to do."""
    return (
        f"{setting}: {model.folder!r} has a head that differs from the embedding, and its config.json says that "
        "both are one (tie_word_embeddings true): set it to false there, or leave the head's weight out"
    )


def _differ(folder: Path) -> bool:
    with ExitStack() as stack:
        tensors = dict(_tensors(folder, stack))
        head = next((tensor for name, tensor in tensors.items() if name.endswith(HEAD)), None)
        embedding = next((tensor for name, tensor in tensors.items() if name.endswith(EMBEDDINGS)), None)
        if head is None or embedding is None or head.get_shape() != embedding.get_shape():
            return False
        starts = range(0, head.get_shape()[0], ROWS)
        return any((head[start : start + ROWS] != embedding[start : start + ROWS]).any() for start in starts)


def _tensors(folder: Path, stack: ExitStack) -> Iterator[tuple[str, Any]]:
    """Names and slices of all tensors, which are read when they are indexed."""
    for path in sorted(folder.glob("*.safetensors")):
        file = stack.enter_context(safe_open(path, framework="pt"))
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            yield name, file.get_slice(name)
