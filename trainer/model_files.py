"""The files of a model folder that a checkpoint keeps byte for byte, because saving them again would change them.

transformers refuses to save a generation_config.json that it calls contradictory, such as one that samples nothing and
names a temperature, and writes one where the folder has none. It also rewrites the tokenizer's files in a form of its
own, which older programs cannot read.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from adaswitch.data.model_folder import find_file

GENERATION_CONFIG = "generation_config.json"
CONFIG = "config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
)


def read_own_files(folder: str) -> dict[str, bytes]:
    """The contents of the model folder's files that are kept, by name."""
    contents: dict[str, bytes] = {}
    for name in (GENERATION_CONFIG, *TOKENIZER_FILES):
        if (found := find_file(folder, name)) is not None:
            contents[name] = found.read_bytes()
    return contents


def save_model(
    folder: Path,
    model: PreTrainedModel,
    weights: dict[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    own_files: Mapping[str, bytes],
) -> None:
    """Write model and tokenizer to ``folder``, with ``own_files`` as they are. ``weights`` are the model's state."""
    # What transformers writes here is replaced below, so its defaults are as good, and these it does not refuse.
    model.generation_config = GenerationConfig()
    dtypes = {weight.dtype for weight in weights.values() if weight.is_floating_point()}
    model.save_pretrained(folder, state_dict=weights)
    if len(dtypes) == 1:
        _name_dtype(folder / CONFIG, dtypes.pop())
    tokenizer.save_pretrained(folder)
    (folder / GENERATION_CONFIG).unlink(missing_ok=True)
    for name, content in own_files.items():
        (folder / name).write_bytes(content)


def _name_dtype(path: Path, dtype: torch.dtype) -> None:
    """Have a config.json name the number type of the saved weights, where transformers names that of the model."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["dtype"] = str(dtype).removeprefix("torch.")
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
