"""Model folders as people have them: tiny random models whose files disagree, lack something, or say too much."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

LETTERS = "0123456789+-*/=;#?. abcdefghijklmnopqrstuvwxyz"
"""The tokens 3 .. 48 of every tokenizer here, after ``<pad>``, ``<bos>`` and ``<eos>``."""
PAD, BOS, EOS = 0, 1, 2
CHAT = (
    "{% for message in messages %}<s{{ message.role[0] }}>{{ message.content }}<turn>{% endfor %}"
    "{% if add_generation_prompt %}<sa>{% endif %}"
)
"""A chat template whose turns begin with ``<su>`` or ``<sa>`` and end with ``<turn>``."""
CHAT_TOKENS = {"<su>": 49, "<sa>": 50, "<turn>": 51}
NUM_IDS = 3 + len(LETTERS)


def make_tokenizer(
    extra: Mapping[str, int] | None = None, *, eos: str | None = "<eos>", chat_template: str | None = None
) -> PreTrainedTokenizerFast:
    """A tokenizer of characters. ``extra`` are special tokens with ids of any choice, also with gaps."""
    special = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS, **(extra or {})}
    vocabulary = special | {letter: 3 + i for i, letter in enumerate(LETTERS)}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=characters, pad_token="<pad>", bos_token="<bos>", eos_token=eos
    )
    tokenizer.add_tokens([AddedToken(text, special=True) for text in (extra or {})], special_tokens=True)
    tokenizer.chat_template = chat_template
    return tokenizer


def make_folder(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    num_rows: int = 64,
    config: Mapping[str, Any] | None = None,
    generation: object = None,
    model: PreTrainedModel | None = None,
    seed: int = 0,
) -> str:
    """A folder with ``model``, or with a random Llama whose embedding has ``num_rows``, and the files on top.

    ``config`` changes entries of config.json; those that are None are taken out. ``generation`` becomes
    generation_config.json, as it is if it is text; without it there is no such file.
    """
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    (model or tiny_llama(num_rows)).save_pretrained(folder)
    (tokenizer or make_tokenizer()).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    change_config(folder, {"eos_token_id": None, **(config or {})})
    if generation is not None:
        text = generation if isinstance(generation, str) else json.dumps(generation)
        (folder / "generation_config.json").write_text(text)
    return str(folder)


def change_config(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change entries of the folder's config.json. Entries that become None are taken out."""
    path = folder / "config.json"
    document = {**json.loads(path.read_text()), **changes}
    for name in [name for name, value in changes.items() if value is None]:
        del document[name]
    path.write_text(json.dumps(document))


def tiny_llama(num_rows: int = 64, **settings: Any) -> LlamaForCausalLM:
    """A random model of two layers that takes 96 tokens."""
    return LlamaForCausalLM(
        LlamaConfig(
            **{
                "vocab_size": num_rows,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 16,
                "max_position_embeddings": 96,
                "initializer_range": 0.3,
                "pad_token_id": PAD,
                "bos_token_id": BOS,
                **settings,
            }
        )
    )


def write_records(path: Path, records: Sequence[Mapping[str, object]]) -> str:
    """A JSON-lines file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)
