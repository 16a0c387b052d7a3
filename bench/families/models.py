"""``Family``: a family of models, and how a tiny model of it is made from transformers' config class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.utils import logging

VOCAB_SIZE = 60
NUM_ROWS = 64
"""Of the embedding, which has more rows than the tokenizer has tokens."""
WINDOW = 8
"""The sliding window, which is shorter than the sequences that are tried."""
WEIGHT, SHIFT = 0.12, 0.05
"""The standard deviation of all matrices, and of what is added to all vectors. As transformers starts them, biases
would be 0 and every next token about as likely, whatever came before."""


@dataclass(frozen=True)
class Family:
    """A family of models, or what is special in some of its models."""

    name: str
    model_type: str
    """The family's name in transformers."""
    settings: Mapping[str, Any]
    """What its config class is given."""
    architecture: str | None = None
    """The class that the folder was saved from, where that is none that transformers loads as a causal model."""
    without_gradient: tuple[str, ...] = ()
    """Endings of the names of parameters that get no gradient, because the model's class gives them none."""

    def config(self) -> PreTrainedConfig:
        """The config of the tiny model."""
        config = AutoConfig.for_model(self.model_type, **self.settings)
        if self.architecture is not None:
            config.architectures = [self.architecture]
        return config


def save(family: Family, folder: Path) -> None:
    """Save a tiny model of ``family`` in ``folder``, in float32 and with the same weights every time.

    A kind that transformers has no causal language model of gets its config and tokenizer alone.
    """
    logging.disable_progress_bar()
    # Whatever its folder says, Qwen2's tokenizer would add the token <|endoftext|> if it had none.
    words = ["<|endoftext|>", *(f"w{i}" for i in range(1, VOCAB_SIZE))]
    model = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="w2", pad_token=words[0])
    tokenizer.save_pretrained(folder)
    config = family.config()
    if family.architecture is not None:
        config.save_pretrained(folder)
        return
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * WEIGHT)
            else:
                parameter.add_(noise * SHIFT)
    model.save_pretrained(folder)
