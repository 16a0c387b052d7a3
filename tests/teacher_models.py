"""Tiny random models, and their distributions by a plain forward pass, for the tests of real engines."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from adaswitch.contract.wire import SequenceAnswer
from adaswitch.data.causal_lm import load_model

VOCAB_SIZE = 60
NUM_ROWS = 67
"""Of the small model's embedding, which are more than its tokenizer has tokens."""


def make_model(
    folder: Path,
    vocab_size: int,
    *,
    num_rows: int | None = None,
    sharpness: float = 1.0,
    head_dim: int = 32,
    tied: bool = False,
) -> Path:
    """A random Llama of two layers in float32, with a tokenizer; peaked where ``sharpness`` is large."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=num_rows or vocab_size,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=head_dim,
            max_position_embeddings=256,
            initializer_range=0.2,
            tie_word_embeddings=tied,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    with torch.no_grad():
        model.lm_head.weight.mul_(sharpness)
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocab_size)}))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
    return folder


class Reference:
    """What transformers says of a model, or of the one in a folder, of which ``vocab_size`` tokens exist."""

    def __init__(self, model: Path | PreTrainedModel, vocab_size: int) -> None:
        if isinstance(model, Path):
            model = load_model(str(model), "model", "float32")
        self._model = model
        self._vocab_size = vocab_size

    @torch.inference_mode()
    def rows(self, token_ids: list[int]) -> np.ndarray:
        """The distribution after each token ``[len, V]``, as log-probabilities over the tokens that exist."""
        logits = self._model(torch.tensor([token_ids])).logits[0, :, : self._vocab_size]
        return logits.float().log_softmax(-1).numpy()


def assert_token_logprobs(answer: SequenceAnswer, expected: np.ndarray, atol: float = 1e-4) -> None:
    """The tokens of ``answer`` have the log-probabilities of their own rows ``expected [rows, V]``."""
    wanted = [row[token] for row, token in zip(expected, answer.token_ids.tolist(), strict=False)]
    assert len(wanted) == len(answer.token_ids)
    np.testing.assert_allclose(answer.token_logprobs, wanted, atol=atol)


def assert_rows(answer: SequenceAnswer, expected: np.ndarray, atol: float = 1e-4) -> None:
    """Every row of ``answer`` is what ``expected [rows, V]`` says, in order."""
    assert len(answer.top_ids) == len(expected)
    k = answer.top_ids.shape[1]
    for ids, logprobs, row in zip(answer.top_ids, answer.top_logprobs, expected, strict=True):
        assert len(set(ids.tolist())) == k
        np.testing.assert_allclose(logprobs, row[ids], atol=atol)
        np.testing.assert_allclose(logprobs, np.sort(row)[::-1][:k], atol=atol)
        assert (np.diff(logprobs) <= 0).all()
