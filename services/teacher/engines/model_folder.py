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

    ``vocab_size`` is V, the number of ids that distributions are over. The embedding may have more rows than that;
    the extra rows are padding, or tokens that the run's student does not have.
    """

    vocab_size: int
    num_embedding_rows: int
    max_model_len: int
    dtype: str
    tokenizer_sha256: str
    stop_token_ids: tuple[int, ...]
    notes: tuple[str, ...]
    """A line on tokens that the model has no row for, if there are any."""


def read_model_folder(config: TeacherServiceConfig) -> ModelFacts:
    """The facts about ``config.model``, with the length and the number type that ``config`` asks for, if it does.

    Raises ``ModelError`` if the folder cannot be read or used, or if ``config`` asks for longer sequences than the
    model takes.
    """
    from adaswitch.contract.fingerprint import tokenizer_sha256
    from adaswitch.data.model_config import check_teacher_model, read_model_config
    from adaswitch.data.models import load_tokenizer
    from adaswitch.data.second_head import refuse_second_head
    from adaswitch.data.served_model import served_dtype, served_length
    from adaswitch.data.stop_tokens import own_stop_token_ids
    from adaswitch.data.vocabulary import notes_on, vocabulary_of

    check_teacher_model(config.model, config.engine, "model")
    model, tokenizer = read_model_config(config.model, "model"), load_tokenizer(config.model, "model")
    refuse_second_head(model, "model")
    vocabulary = vocabulary_of(tokenizer, model.num_rows, "model")
    return ModelFacts(
        vocab_size=min(vocabulary.size, config.vocab_size or vocabulary.size),
        num_embedding_rows=model.num_rows,
        max_model_len=served_length(config, model),
        dtype=served_dtype(config, model),
        tokenizer_sha256=tokenizer_sha256(tokenizer.get_vocab()),
        stop_token_ids=tuple(own_stop_token_ids(config.model, tokenizer, vocabulary.size, "model")),
        notes=tuple(notes_on(vocabulary, tokenizer, "model")),
    )


def other_engine(config: TeacherServiceConfig) -> str:
    """What to do about a model that vLLM cannot run here."""
    from adaswitch.data.model_config import check_teacher_model

    try:
        check_teacher_model(config.model, "transformers", "model")
    except ModelError:
        return "the engine transformers cannot either, so take another model"
    return "the engine transformers can (--engine transformers; teacher.serve.engine in a run)"


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
        stop_token_ids=list(facts.stop_token_ids),
        max_request_logprobs=int(config.logprob_memory_gib * 2**30) // logprob_bytes(1, 0),
    )
