"""Reads a model's sizes, number type and tokenizer from its folder, before any engine loads the weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import ModelError

if TYPE_CHECKING:
    from adaswitch.contract.wire import ModelInfo


@dataclass(frozen=True)
class ModelFacts:
    """What a model folder says about its model.

    ``vocab_size`` is the number of tokens. The embedding may have more rows than that; the extra rows are padding.
    """

    vocab_size: int
    num_embedding_rows: int
    max_model_len: int
    dtype: str
    tokenizer_sha256: str


def read_model_folder(config: TeacherServiceConfig) -> ModelFacts:
    """The facts about ``config.model``, with the length and the number type that ``config`` asks for, if it does.

    Raises ``ModelError`` if the folder cannot be read, if its tokenizer and its model do not belong together, or if
    ``config`` asks for longer sequences than the model takes.
    """
    from transformers import AutoConfig

    from adaswitch.contract.fingerprint import tokenizer_sha256
    from adaswitch.data.models import load, load_tokenizer

    hf_config = load(AutoConfig.from_pretrained, config.model, "model")
    text_config = hf_config.get_text_config()
    vocabulary = load_tokenizer(config.model, "model").get_vocab()
    facts = ModelFacts(
        vocab_size=max(vocabulary.values()) + 1,
        num_embedding_rows=text_config.vocab_size,
        max_model_len=config.max_model_len or text_config.max_position_embeddings,
        dtype=_dtype(config.dtype, hf_config.dtype),
        tokenizer_sha256=tokenizer_sha256(vocabulary),
    )
    _check(facts, config, text_config.max_position_embeddings)
    return facts


def _dtype(asked_for: str, stored: object) -> str:
    if asked_for != "auto":
        return asked_for
    # ``stored`` reads like "torch.bfloat16". A folder that names no type was saved in float32.
    return str(stored or "float32").removeprefix("torch.")


def _check(facts: ModelFacts, config: TeacherServiceConfig, max_positions: int) -> None:
    if facts.vocab_size > facts.num_embedding_rows:
        raise ModelError(
            f"model: the tokenizer of {config.model!r} has {facts.vocab_size} tokens, its model only "
            f"{facts.num_embedding_rows}; they do not belong together"
        )
    if facts.max_model_len > max_positions:
        raise ModelError(
            f"max_model_len: {facts.max_model_len} is more than the {max_positions} of {config.model!r}"
        )


def model_info(config: TeacherServiceConfig, facts: ModelFacts) -> "ModelInfo":
    """The answer of ``GET /v1/model``."""
    from adaswitch.contract.wire import ModelInfo
    from services.teacher.engines.memory import logprob_bytes

    return ModelInfo(
        model=config.model,
        backend=config.engine,
        dtype=facts.dtype,
        vocab_size=facts.vocab_size,
        max_model_len=facts.max_model_len,
        max_top_k=min(config.max_top_k, facts.vocab_size),
        max_request_tokens=config.max_request_tokens,
        tokenizer_sha256=facts.tokenizer_sha256,
        max_request_sequences=config.max_request_sequences,
        max_request_logprobs=int(config.logprob_memory_gib * 2**30) // logprob_bytes(1, 0),
    )
