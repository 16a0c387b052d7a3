"""Whether vLLM writes the completions of an evaluation, and if so, its engine, for as long as it is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from adaswitch.config.student import StudentConfig
from adaswitch.data.causal_lm import load_model
from adaswitch.errors import UserError
from adaswitch.evaluation.command import device_of
from adaswitch.evaluation.evaluation import EvalPrompts, Sampling, rules_of
from adaswitch.evaluation.request import EvalRequest
from adaswitch.evaluation.writer import Writer
from adaswitch.method.finite import non_finite_weight
from services.evaluation.vllm_writer import VLLMWriter
from services.student import engines
from services.student.engines.engine import Sampling as Drawing

MIN_TOKENS = 32
"""The engine takes sequences of so many tokens at least, which it needs to be tried at its start."""
OPTIONS = {
    "student.engine=": "--engine ",
    "student.engine: ": "--engine: ",
    "student.engine": "--engine",
    "student.device=": "--device ",
    "student.kv_cache_gib": "--kv-cache-gib",
    "student.gpu_memory_utilization": "--gpu-memory-utilization",
    "student.max_new_tokens": "--max-new-tokens",
    "student.model": "--model",
    "the student": "the model",
}
"""What the words of a student's engine are in a command that has no settings."""


@contextmanager
def on_vllm(
    request: EvalRequest, prompts: EvalPrompts, say: Callable[[str], None]
) -> Iterator[Writer | None]:
    """See ``adaswitch.evaluation.command.OtherWriter``. Raises ``UserError`` if vLLM was asked for and cannot write."""
    config, device = _settings(request), device_of(request)
    rules = rules_of(prompts, Sampling(request.num_samples, request.temperature, request.seed))
    with _in_options():
        name, why = engines.choose_engine(config, device)
        engine = None
        if name == "vllm":
            say("starting vLLM")
            longest = max(map(len, prompts.prompt_token_ids)) + rules.max_new_tokens
            drawing = Drawing(rules.seed, rules.temperature, rules.stop_token_ids)
            engine, why = engines.vllm_or_why_not(
                config, rules.vocab_size, drawing, max(longest, MIN_TOKENS), device, why
            )
    say(f"--engine: {'transformers' if engine is None else 'vllm'} ({_words(why)})")
    if engine is None:
        yield None
        return
    try:
        with _in_options():
            yield VLLMWriter(engine, rules, lambda: _non_finite(request))
    finally:
        engine.close()


def _settings(request: EvalRequest) -> StudentConfig:
    """The settings of a student that writes as ``request`` asks."""
    given = {name: value for name, value in asdict(request.vllm).items() if value is not None}
    return StudentConfig.model_validate(
        {"model": request.model, "dtype": request.dtype, "engine": request.engine, **given}
    )


def _non_finite(request: EvalRequest) -> str | None:
    model = load_model(request.model, "--model", request.dtype)
    return non_finite_weight(dict(model.named_parameters()))


@contextmanager
def _in_options() -> Iterator[None]:
    """Put the command's options into the message of a ``UserError``, which keeps its type."""
    try:
        yield
    except UserError as error:
        error.args = (_words(str(error)),)
        raise


def _words(text: str) -> str:
    for setting, option in OPTIONS.items():
        text = text.replace(setting, option)
    return text
