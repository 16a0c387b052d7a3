"""New weights in the transformers engine: tied and untied heads, number types, and weights that do not fit."""

import asyncio

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from adaswitch.cluster.weight_arrays import WeightPieces, arrays_to_weights
from adaswitch.errors import ModelError
from adaswitch.method.prompt import Prompt
from services.student.engines.engine import WriteRequest
from services.student.engines.transformers_engine import Sampling, TransformersEngine

V = 16
PROMPT = Prompt(id=0, token_ids=(1, 2, 3))


def model(seed: int, *, tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=V, tie_word_embeddings=tied, **shape)).eval()


def engine(of: LlamaForCausalLM) -> TransformersEngine:
    return TransformersEngine(of, V, Sampling(0, 1.0, []), "cpu")


def travelled(of: LlamaForCausalLM, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights as a student gets them. Tied parameters appear only once."""
    pieces = WeightPieces(dtype).of(dict(of.named_parameters()))
    return {name: tensor for piece in pieces for name, tensor in arrays_to_weights(piece).items()}


def first_logprobs(student: TransformersEngine) -> Tensor:
    """The student's log-probabilities ``[V]`` of the first token after the prompt."""
    [chunk] = student.write([WriteRequest(PROMPT, (), 1)])
    outcomes = asyncio.run(chunk.rows.outcomes(torch.arange(V)[None]))
    student.forget([PROMPT.id])
    return outcomes[0, :V]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_there_and_back_give_the_models_own_logprobs(tied: bool, dtype: torch.dtype) -> None:
    student = engine(model(0, tied=tied).to(dtype))
    for seed in (1, 2, 1):
        trained = model(seed, tied=tied)
        student.load_weights(travelled(trained, dtype))
        with torch.no_grad():
            logits = trained.to(dtype)(torch.tensor([PROMPT.token_ids])).logits[0, -1]
        torch.testing.assert_close(first_logprobs(student), logits.float().log_softmax(-1), rtol=0, atol=1e-5)


def test_weights_of_another_shape_are_refused_and_change_nothing() -> None:
    student = engine(model(0, tied=True))
    before = first_logprobs(student)
    weights = travelled(model(1, tied=True), torch.float32)
    name = "model.layers.0.input_layernorm.weight"
    weights[name] = weights[name][:1]
    with pytest.raises(
        ModelError, match=r"another model's: model\.layers\.0\.input_layernorm\.weight .* shape"
    ):
        student.load_weights(weights)
    assert torch.equal(first_logprobs(student), before)


def test_weights_with_another_name_are_refused() -> None:
    student = engine(model(0, tied=True))
    weights = travelled(model(1, tied=False), torch.float32)
    with pytest.raises(ModelError, match=r"another model's: lm_head\.weight is on one side only"):
        student.load_weights(weights)
