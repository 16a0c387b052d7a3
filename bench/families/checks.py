"""Checks of one model folder, as a teacher and as a student, against plain forward passes of transformers."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from adaswitch.config.trainer import TrainerConfig
from adaswitch.contract.wire import GeneratePrompt, GenerateRequest, ScoreSequence, SequenceAnswer
from adaswitch.data.model_config import check_student_model
from adaswitch.method.batching import make_batch
from adaswitch.method.distribution import top_k
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.runs.directory import RunDirectory
from bench.families.models import VOCAB_SIZE
from services.student.engines.engine import Sampling, WriteRequest
from services.student.engines.transformers_engine import TransformersEngine
from services.teacher.engines.engine import TeacherEngine
from trainer.checkpoint import restore, save_checkpoint
from trainer.learner import Learner

TOLERANCE = 1e-4
"""The largest difference, in nats, of two log-probabilities that are to be the same, in float32."""


class WrongError(Exception):
    """The model was taken, and something it gave is wrong."""


class Plain:
    """A model by plain forward passes, one sequence at a time."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model.eval()

    @classmethod
    def from_folder(cls, folder: Path) -> "Plain":
        """The model in ``folder``, with attention as its class defines it: only eager attention caps its logits."""
        attention = {"attn_implementation": "eager"} if _is_capped(folder) else {}
        return cls(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **attention))

    @torch.inference_mode()
    def rows(self, token_ids: Sequence[int]) -> Tensor:
        """The log-probabilities ``[n, V]`` after each of ``token_ids``."""
        logits: Tensor = self._model(input_ids=torch.tensor([list(token_ids)]), use_cache=False).logits
        return logits[0, :, :VOCAB_SIZE].float().log_softmax(-1)


def _is_capped(folder: Path) -> bool:
    return getattr(AutoConfig.from_pretrained(folder), "attn_logit_softcapping", None) is not None


def tokens(number: int, seed: int) -> list[int]:
    """``number`` random tokens, the same for the same ``seed``."""
    drawn: list[int] = np.random.default_rng(seed).integers(0, VOCAB_SIZE, number).tolist()
    return drawn


def require_close(what: str, found: Tensor | NDArray[np.float32], expected: Tensor) -> None:
    """Raises ``WrongError`` if any two numbers differ by more than ``TOLERANCE``."""
    difference = float((torch.as_tensor(found) - expected).abs().max())
    if not difference <= TOLERANCE:
        raise WrongError(f"{what}: off by {difference:.2g} nats")


async def check_teacher(engine: TeacherEngine, load: Callable[[], Plain], longest: int) -> None:
    """Start ``engine``, compare its scores and the rows of what it writes with those of ``load()``, and close it.

    ``longest`` is the length of the longest sequence that is scored, if the model takes one as long.
    """
    try:
        await engine.start()
        longest = min(longest, engine.info.max_model_len - 1)
        plain = load()
        await _check_scores(
            engine, plain, [(tokens(20, 1), 1), (tokens(3, 2), 2), (tokens(longest, 3), longest - 30)]
        )
        # Once more, so that vLLM reads the keys and values of the first tokens from its cache.
        await _check_scores(engine, plain, [(tokens(longest, 3), longest - 10)])
        prompts = [
            GeneratePrompt(token_ids=tokens(length, length), max_tokens=number, seed=length)
            for length, number in ((5, 7), (19, 12))
        ]
        request = GenerateRequest(prompts=prompts, top_k=VOCAB_SIZE)
        for prompt, answer in zip(prompts, await engine.generate(request), strict=True):
            written = plain.rows([*prompt.token_ids, *answer.token_ids.tolist()])
            _require_rows("what it writes", answer, written[len(prompt.token_ids) - 1 : -1])
    finally:
        await engine.close()


async def _check_scores(engine: TeacherEngine, plain: Plain, asked: Sequence[tuple[list[int], int]]) -> None:
    """Score each sequence from its start on."""
    sequences = [ScoreSequence(token_ids=ids, start=start) for ids, start in asked]
    for sequence, answer in zip(sequences, await engine.score(sequences, VOCAB_SIZE), strict=True):
        _require_rows("its scores", answer, plain.rows(sequence.token_ids)[sequence.start - 1 :])


def _require_rows(what: str, answer: SequenceAnswer, expected: Tensor) -> None:
    """The answer's candidates and tokens have the log-probabilities of ``expected [rows, V]``."""
    candidates = torch.from_numpy(answer.top_ids.astype(np.int64))
    require_close(what, answer.top_logprobs, expected.gather(1, candidates))
    wanted = torch.from_numpy(answer.token_ids.astype(np.int64))
    require_close(what, answer.token_logprobs, expected[torch.arange(len(wanted)), wanted])


def check_student(folder: Path, scratch: Path, without_gradient: Sequence[str] = ()) -> tuple[Path, Plain]:
    """Write with the model, train it by a step, save it, load it, and write with it again.

    ``without_gradient`` are endings of the names of parameters that may get no gradient. Returns the checkpoint.
    """
    check_student_model(str(folder))
    sampling = Sampling(0, 1.0, [])
    engine = TransformersEngine.from_folder(str(folder), "float32", VOCAB_SIZE, sampling, "cpu")
    settings = {"optimizer": {"learning_rate": 1e-2, "warmup_steps": 0, "max_grad_norm": 1e6}}
    config = TrainerConfig.model_validate(settings)
    learner = Learner.from_folder(str(folder), config, "cpu")
    texts = _check_writing(engine, Plain.from_folder(folder) if _is_capped(folder) else Plain(learner.model))
    _check_update(learner, [_rollout(*each) for each in enumerate(texts)], tuple(without_gradient))
    checkpoint = save_checkpoint(
        RunDirectory(scratch), 1, learner, AutoTokenizer.from_pretrained(folder), keep=1
    )
    again = Learner.from_folder(str(checkpoint), config, "cpu")
    restore(checkpoint, 1, again)
    loaded = again.weights()
    changed = [name for name, weight in learner.weights().items() if not torch.equal(weight, loaded[name])]
    if changed:
        raise WrongError(f"a checkpoint: {changed[0]} is another after loading")
    engine.load_weights(learner.weights())
    plain = Plain(again.model)
    _check_writing(engine, plain)
    return checkpoint, plain


def _check_writing(engine: TransformersEngine, plain: Plain) -> list[tuple[list[int], list[int]]]:
    """Write on three prompts in chunks, in between with tokens of somebody else's. Returns prompts and completions."""
    prompts = [Prompt(i, tuple(tokens(length, length))) for i, length in enumerate((3, 17, 9))]
    completions: list[list[int]] = [[] for _ in prompts]
    engine.forget([prompt.id for prompt in prompts])
    for lengths, foreign in (([3, 5, 2], [0, 3, 1]), ([4, 2, 6], [0, 0, 0])):
        requests = [
            WriteRequest(prompt, tuple(completion), number)
            for prompt, completion, number in zip(prompts, completions, lengths, strict=True)
        ]
        for request, chunk, completion in zip(requests, engine.write(requests), completions, strict=True):
            before = [*request.prompt.token_ids, *completion]
            rows = plain.rows([*before, *chunk.token_ids])[len(before) - 1 : -1]
            every = torch.arange(VOCAB_SIZE).expand(len(rows), -1)
            own = asyncio.run(chunk.rows.outcomes(every))[:, :VOCAB_SIZE]
            require_close("what it writes in chunks", own, rows)
            completion += chunk.token_ids
        for completion, number in zip(completions, foreign, strict=True):
            completion += tokens(number, number)
    return [(list(prompt.token_ids), ids) for prompt, ids in zip(prompts, completions, strict=True)]


def _rollout(number: int, texts: tuple[list[int], list[int]]) -> Rollout:
    """The completion under a random teacher."""
    prompt, completion = texts
    generator = torch.Generator().manual_seed(number)
    teacher = torch.randn(len(completion), VOCAB_SIZE, generator=generator).log_softmax(-1)
    return Rollout(
        prompt=Prompt(number, tuple(prompt)),
        completion_token_ids=tuple(completion),
        by_teacher=np.zeros(len(completion), dtype=np.bool_),
        teacher=top_k(teacher, 8),
        divergences=(),
        thresholds=(),
        ending=Ending.LENGTH,
        weights_version=0,
    )


def _check_update(learner: Learner, rollouts: Sequence[Rollout], without_gradient: tuple[str, ...]) -> None:
    """The loss of a padded batch is that of plain forward passes, and every parameter gets a gradient."""
    loss, losses = TrainerConfig().loss, []
    with torch.inference_mode():
        for rollout in rollouts:
            batch = make_batch([rollout])
            logits = learner.model(input_ids=batch.input_ids, use_cache=False).logits
            rows = logits[:, -batch.num_completion_columns - 1 :]
            losses.append(loss.token_losses(batch, batch.completion_logits(rows)))
    update = learner.update(rollouts, 0)
    require_close("the loss of a step", torch.tensor(update.loss), torch.cat(losses).mean())
    for name, weight in learner.model.named_parameters():
        if (weight.grad is None or not weight.grad.any()) and not name.endswith(without_gradient):
            raise WrongError(f"a step: no gradient for {name}")
