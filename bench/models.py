"""Models for benchmarks: random weights, realistic sizes, and a tokenizer with one word for each token."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging


@dataclass(frozen=True)
class Shape:
    """The size of a Llama model. Its heads must have size 32 or 64: vLLM's CPU attention takes no other size nearby."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int | None = None
    """The default is ``num_heads``."""
    intermediate_size: int | None = None
    """The default is four times ``hidden_size``."""


SMALL = Shape(vocab_size=64, hidden_size=96, num_layers=3, num_heads=3)
"""As large as the demo's teacher."""
LARGE = Shape(vocab_size=49_152, hidden_size=384, num_layers=6, num_heads=6)
"""30M parameters, with SmolLM2's vocabulary."""
MAX_POSITIONS = 2048
PAD, BOS, EOS = "<pad>", "<s>", "</s>"
"""The tokens 0, 1 and 2. No word begins as they do: a special token is found within words too."""


def make_model(folder: Path, shape: Shape) -> Path:
    """Save a model of ``shape`` in ``folder``, in float32 and with the same weights every time."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size or 4 * shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads or shape.num_heads,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    names = [PAD, BOS, EOS, *(f"w{i}" for i in range(3, shape.vocab_size))]
    words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=PAD))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=BOS, eos_token=EOS, pad_token=PAD, unk_token=PAD
    ).save_pretrained(folder)
    return folder
