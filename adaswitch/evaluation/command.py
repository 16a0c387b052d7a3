"""The work of ``adaswitch eval``: evaluates any model folder or checkpoint in the same way as the trainer.

The engines that write stand with the students' service, so whoever calls ``run_eval`` hands them over.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from adaswitch.config.threads import counted_threads
from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.data.causal_lm import load_model
from adaswitch.data.chat import template_notes
from adaswitch.data.datasets import encode_reference, eval_examples
from adaswitch.data.lengths import Limit, fit_prompts
from adaswitch.data.model_config import read_model_config
from adaswitch.data.models import load_tokenizer, max_positions
from adaswitch.data.stop_tokens import find_stop_tokens, own_stop_token_ids
from adaswitch.data.threads import number_of_threads
from adaswitch.data.vocabulary import check_ids, notes_on, vocabulary_of
from adaswitch.errors import DataError, EnvironmentProblem, ModelError
from adaswitch.evaluation.divergence import MeanDivergence, Text, mean_divergences
from adaswitch.evaluation.evaluation import EvalPrompts, Evaluation, Sampling, evaluate
from adaswitch.evaluation.report import OWN, REFERENCES, Report, prepare_output, print_report, write_report
from adaswitch.evaluation.request import EvalRequest
from adaswitch.evaluation.transformers_writer import TransformersWriter
from adaswitch.evaluation.writer import Writer
from adaswitch.processes.cores import compute_with, num_cores
from adaswitch.processes.progress import ShownProgress
from adaswitch.runs.day import day_of_checkpoint, with_day

OtherWriter = Callable[
    [EvalRequest, EvalPrompts, Callable[[str], None]], AbstractContextManager[Writer | None]
]
"""A block with a writer that needs no model in transformers, or with None for what transformers shall write. The last
argument is where it says, in lines for people, which engine writes, and why."""


@contextmanager
def transformers_alone(
    request: EvalRequest, prompts: EvalPrompts, say: Callable[[str], None]
) -> Iterator[Writer | None]:
    """No other writer. Raises ``EnvironmentProblem`` if one is asked for."""
    if request.engine not in ("auto", "transformers"):
        raise EnvironmentProblem(f"--engine {request.engine}: it is not here: set --engine transformers")
    yield None


def run_eval(
    request: EvalRequest,
    console: Console,
    should_stop: Callable[[], bool] = lambda: False,
    other_writer: OtherWriter = transformers_alone,
) -> bool:
    """Carry out ``request``, print the results and keep them; False if ``should_stop`` stopped it midway.

    All that can be checked is checked before anything is loaded. Raises ``UserError`` for what is wrong, and also if
    no completion at all could be marked.
    """
    request = replace(request, task=with_day(request.task, day_of_checkpoint(request.model)))
    if request.output is not None:
        prepare_output(request.output)
    logging.disable_progress_bar()
    prompts = load_prompts(request)

    def say(line: str) -> None:
        """Print a line for people as it is."""
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    for line in prompts.on_models:
        say(line)
    _compute_with_threads(request, console)
    started = time.perf_counter()
    models = _Models(request)
    with other_writer(request, prompts, say) as writer, _progress() as progress:
        evaluation = _answered(request, prompts, writer or models.writer(), should_stop, progress)
    if evaluation is None:
        return False
    with _progress() as progress:
        divergences = _compared(request, models, prompts, evaluation, progress)
    report = Report(request, evaluation, divergences, time.perf_counter() - started, prompts.notes)
    if request.output is not None:
        write_report(request.output, report)
    print_report(report, console)
    _refuse_nothing_marked(evaluation)
    return True


class _Models:
    """The models of a request, which are loaded once, and only if they are needed."""

    def __init__(self, request: EvalRequest) -> None:
        self._request = request

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model that is evaluated."""
        return _load_model(self._request.model, "--model", self._request)

    def writer(self) -> Writer:
        """What writes completions with the model on transformers."""
        return TransformersWriter(self.model)


def _answered(
    request: EvalRequest,
    prompts: EvalPrompts,
    writer: Writer,
    should_stop: Callable[[], bool],
    progress: ShownProgress,
) -> Evaluation | None:
    part = progress.part("answering", len(prompts.examples) * request.num_samples)
    sampling = Sampling(request.num_samples, request.temperature, request.seed)
    return evaluate(writer, prompts, sampling, should_stop, part.advance)


def _compute_with_threads(request: EvalRequest, console: Console) -> None:
    models = [request.model] if request.teacher is None else [request.model, request.teacher]
    number = number_of_threads(request.num_threads, num_cores(), *models)
    compute_with(number)
    console.print(f"computing with {counted_threads(number)}", highlight=False)


def load_prompts(request: EvalRequest) -> EvalPrompts:
    """The prompts of ``request`` in the model's tokens. Raises ``UserError`` if something does not fit.

    A checkpoint of a run is asked on the run's day, any other model on this day, unless the task names one.
    """
    request = replace(request, task=with_day(request.task, day_of_checkpoint(request.model)))
    request.task.check(request.max_new_tokens)
    task, tokenizer = request.task.ready(), load_tokenizer(request.model, "--model")
    model = read_model_config(request.model, "--model")
    vocabulary = vocabulary_of(tokenizer, model.num_rows, "--model")
    vocab_size, ends = vocabulary.size, _ends_of_run(request)
    notes = [*model.notes, *notes_on(vocabulary, tokenizer, "--model")]
    if request.teacher is not None:
        teacher = _same_tokenizer(request.teacher, request.model, tokenizer)
        vocab_size = min(vocab_size, teacher.vocab_size)
        ends += teacher.stop_token_ids
        notes += teacher.notes
    named = [("the teacher", token) for token in ends]
    stop_tokens = find_stop_tokens(
        request.model, tokenizer, vocab_size, "--model", request.stop_token_ids, named
    )
    fitted = fit_prompts(
        tokenizer,
        task,
        eval_examples(request.task, request.limit),
        _limits(request),
        request.max_new_tokens,
        request.budget_setting,
    )
    for example, token_ids in zip(fitted.examples, fitted.prompts, strict=True):
        check_ids(token_ids, vocab_size, f"{example.place}: the prompt", tokenizer)
    notes_on_prompts = template_notes(tokenizer, task, fitted.examples) + fitted.note("held-out prompts")
    return EvalPrompts(
        task=task,
        examples=fitted.examples,
        prompt_token_ids=fitted.prompts,
        tokenizer=tokenizer,
        stop_token_ids=stop_tokens.ids,
        max_new_tokens=request.max_new_tokens,
        batch_size=request.batch_size,
        vocab_size=vocab_size,
        end_token_id=stop_tokens.end_of_reference(task.wraps_prompts),
        notes=notes_on_prompts,
        on_models=[*notes, *stop_tokens.lines()],
    )


@dataclass(frozen=True)
class _Teacher:
    """What is known of the teacher before it is loaded."""

    vocab_size: int
    stop_token_ids: list[int]
    notes: tuple[str, ...]


def _ends_of_run(request: EvalRequest) -> list[int]:
    """The stop tokens of the teacher that the run's settings name, if its folder is on this machine."""
    folder, setting = request.run_teacher, "teacher.serve.model"
    if folder is None or request.stop_token_ids is not None or not os.path.isdir(folder):
        return []
    tokenizer, model = load_tokenizer(folder, setting), read_model_config(folder, setting)
    return own_stop_token_ids(
        folder, tokenizer, vocabulary_of(tokenizer, model.num_rows, setting).size, setting
    )


def _limits(request: EvalRequest) -> list[Limit]:
    """The longest sequences of the model, and of the teacher if there is one."""
    limits = [Limit(max_positions(request.model, "--model"), "the model")]
    if request.teacher is not None:
        limits.append(Limit(max_positions(request.teacher, "--teacher"), "the teacher"))
    return limits


def _same_tokenizer(folder: str, model: str, tokenizer: PreTrainedTokenizerBase) -> _Teacher:
    """The teacher in ``folder``. Raises ``ModelError`` unless it has the tokenizer of ``model``."""
    other = load_tokenizer(folder, "--teacher")
    own_sha, other_sha = (tokenizer_sha256(side.get_vocab()) for side in (tokenizer, other))
    if own_sha != other_sha:
        raise ModelError(
            f"--teacher: {folder!r} and {model!r} have different tokenizers "
            f"({other_sha[:12]} and {own_sha[:12]}): their distributions cannot be compared; "
            "take a pair of one model family"
        )
    config = read_model_config(folder, "--teacher")
    size = vocabulary_of(other, config.num_rows, "--teacher").size
    return _Teacher(size, own_stop_token_ids(folder, other, size, "--teacher"), config.notes)


def device_of(request: EvalRequest) -> str:
    """``cpu`` or ``cuda``. Raises ``EnvironmentProblem`` if a GPU is asked for that is not there."""
    if request.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if request.device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("--device cuda: torch sees no CUDA device here: take --device cpu")
    return request.device


def _load_model(folder: str, option: str, request: EvalRequest) -> PreTrainedModel:
    device = device_of(request)
    model = load_model(folder, option, request.dtype)
    model.to(device)  # type: ignore[arg-type]
    return model


def _compared(
    request: EvalRequest,
    models: _Models,
    prompts: EvalPrompts,
    evaluation: Evaluation,
    progress: ShownProgress,
) -> dict[str, Sequence[MeanDivergence]]:
    """The divergences from the teacher over the model's completions and over the references, if they are wanted."""
    if request.teacher is None:
        return {}
    model, teacher = models.model, _load_model(request.teacher, "--teacher", request)
    texts = {OWN: own_texts(evaluation), REFERENCES: reference_texts(prompts)}
    part = progress.part("comparing", sum(map(len, texts.values())))
    return {
        over: mean_divergences(model, teacher, members, prompts.num_ids, part.advance)
        for over, members in texts.items()
        if members
    }


def own_texts(evaluation: Evaluation) -> list[Text]:
    """The model's completions, each with the token that ended it."""
    return [
        Text((done.example.split, done.example.number), done.prompt_token_ids, done.token_ids)
        for done in evaluation.completions
    ]


def reference_texts(prompts: EvalPrompts) -> list[Text]:
    """The data set's own completions, cut to the largest length. Records without a completion are skipped."""
    return [
        Text(
            (example.split, example.number),
            token_ids,
            encode_reference(prompts.tokenizer, example, prompts.end_token_id)[: prompts.max_new_tokens],
        )
        for example, token_ids in zip(prompts.examples, prompts.prompt_token_ids, strict=True)
        if example.reference.strip()
    ]


def _refuse_nothing_marked(evaluation: Evaluation) -> None:
    if evaluation.main.n == 0:
        first = evaluation.completions[0]
        raise DataError(
            f"none of the {len(evaluation.completions)} completions could be marked: {first.cause}",
            source=f"task {evaluation.task}",
            line=first.example.number,
        )


def _progress() -> ShownProgress:
    """On stderr, so that what is printed on stdout is the result alone."""
    return ShownProgress(Console(stderr=True))
