"""What the engine tries at its start, so that a model with which vLLM would go wrong in silence is refused in time.

vLLM packs weights when it loads a model first. What it makes anew of them when others are loaded later differs by the
kind of the model and of the processor: a head, or all experts of a mixture, may stay what they were.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from adaswitch.data.causal_lm import load_model
from adaswitch.method.distribution import outcome_logprobs_of
from services.student.engines.vllm.llm import LLM
from services.student.engines.vllm.outline import Outline
from services.student.engines.vllm.worker import Slip

CLOSE = 0.01
CLOSE_IN_HALF_PRECISION = 0.3
"""In nats: two log-probabilities are the same if they differ by no more."""
NUM_IDS = 64
"""The number of tokens whose log-probabilities are compared, besides that of all others."""
NUM_TOKENS = 2
"""The tokens that are written after each of the prompts."""
SCALE = 0.5
"""Weights are halved for the trial: that changes what every layer does, and is undone without rounding."""

Written = tuple[list[int], list[int], Tensor]
"""A prompt, the tokens that were written after it, and the states ``[n, d]`` that they follow from."""


def refusal(llm: LLM, folder: str, dtype: str, vocab_size: int, outline: Outline) -> str | None:
    """Why a student cannot be trained on ``llm``; None if it can. The weights are those of ``folder`` again then."""
    for prompt_id, (_, token_ids, states) in enumerate(_written(llm, vocab_size)):
        if not llm.agrees(states, token_ids, prompt_id):
            return "its hidden states are not those that its tokens follow from"
    model = load_model(folder, "student.model", dtype)
    for scale in (SCALE, 1 / SCALE):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(scale)
        llm.load_weights(outline.as_saved({name: own.detach() for name, own in model.named_parameters()}))
        llm.reset_cache()
        gap = max(_gap(llm, model, written, vocab_size) for written in _written(llm, vocab_size))
        # With weights that are not finite nothing can be compared, and whoever asks is told of them.
        if gap > (CLOSE if dtype == "float32" else CLOSE_IN_HALF_PRECISION):
            return f"after new weights it is off by {gap:.2g} nats, so some of the old ones are left"
    return None


def _written(llm: LLM, vocab_size: int) -> list[Written]:
    """A few tokens after prompts of different lengths, all written at once."""
    prompts = [[(3 * i + length) % vocab_size for i in range(length)] for length in (1, 7, 4)]
    for number, prompt in enumerate(prompts):
        llm.add(prompt, Slip(number, number, 0, NUM_TOKENS), ())
    ended: dict[int, list[int]] = {}
    while len(ended) < len(prompts):
        ended.update(llm.step())
    return [
        (prompt, ended[number], llm.rows(number, len(ended[number]))) for number, prompt in enumerate(prompts)
    ]


@torch.no_grad()
def _gap(llm: LLM, model: PreTrainedModel, written: Written, vocab_size: int) -> float:
    """How far, in nats, ``llm`` is from what ``model`` says of the tokens that were written."""
    prompt, token_ids, states = written
    logits = model(torch.tensor([prompt + token_ids])).logits[0, len(prompt) - 1 : -1]
    ids = torch.arange(min(NUM_IDS, vocab_size - 1)).expand(len(token_ids), -1)
    expected = outcome_logprobs_of(logits, ids, vocab_size)
    return float((llm.outcomes(states, ids) - expected).abs().max())
