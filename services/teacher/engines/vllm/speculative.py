"""A draft for what the teacher writes: vLLM's own speculative decoding.

A draft proposes several tokens, and the teacher checks them in one step. vLLM keeps or draws each token such that it
comes from the teacher's own distribution, and the log-probabilities are the teacher's own.
"""

from typing import Any

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import ModelError
from services.teacher.engines.model_folder import ModelFacts

LONGEST_NGRAM = 4
SETTING = "speculative"


def speculative_settings(config: TeacherServiceConfig, facts: ModelFacts) -> dict[str, Any] | None:
    """vLLM's ``speculative_config``; None if ``config`` asks for no draft.

    Raises ``ModelError`` for a draft model that is not there, or that has another vocabulary than the teacher.
    """
    if config.speculative is None:
        return None
    number = {"num_speculative_tokens": config.speculative_tokens}
    if (draft := config.draft_model) is None:
        return {"method": "ngram", "prompt_lookup_max": LONGEST_NGRAM, "prompt_lookup_min": 1, **number}
    _check_draft(config.model, draft, facts)
    return {"method": "draft_model", "model": draft, **number}


def _check_draft(teacher: str, draft: str, facts: ModelFacts) -> None:
    from adaswitch.contract.fingerprint import tokenizer_sha256
    from adaswitch.data.model_config import check_teacher_model, read_model_config
    from adaswitch.data.models import load_tokenizer

    check_teacher_model(draft, "vllm", SETTING)
    sha = tokenizer_sha256(load_tokenizer(draft, SETTING).get_vocab())
    if sha != facts.tokenizer_sha256:
        raise ModelError(
            f"{SETTING}: {draft!r} and the teacher {teacher!r} have different tokenizers ({sha[:12]} and "
            f"{facts.tokenizer_sha256[:12]}): take a smaller model of the teacher's family, or ngram"
        )
    num_rows = read_model_config(draft, SETTING).num_rows
    if num_rows != facts.num_embedding_rows:
        raise ModelError(
            f"{SETTING}: {draft!r} has {num_rows} rows of tokens, and the teacher {teacher!r} has "
            f"{facts.num_embedding_rows}, which vLLM does not take: take a model with as many rows, or ngram"
        )
