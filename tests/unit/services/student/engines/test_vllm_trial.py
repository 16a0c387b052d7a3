"""What the student's engine on vLLM tries at its start, on a model that loads all new weights but one."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adaswitch.data.causal_lm import load_model
from adaswitch.data.model_config import read_model_config
from adaswitch.method.distribution import outcome_logprobs_of
from services.student.engines.vllm.outline import Outline
from services.student.engines.vllm.trial import refusal
from services.student.engines.vllm.worker import Slip
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, make_model
from tests.vllm_fakes import PlayedLLM, weights_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("student"), VOCAB_SIZE, num_rows=NUM_ROWS)


class Scaled(PlayedLLM):
    """A model whose ``stuck`` weights stay what they were when new ones are loaded."""

    state_bytes = 256

    def __init__(self, folder: Path, stuck: str) -> None:
        super().__init__()
        self.model = load_model(str(folder), "student.model", "float32")
        self.stuck = stuck
        self.token_ids: dict[int, list[int]] = {}

    def add(self, token_ids: list[int], slip: Slip, stop_token_ids: Collection[int]) -> None:
        super().add(token_ids, slip, stop_token_ids)
        self.token_ids[slip.number] = token_ids

    def rows(self, number: int, num_tokens: int) -> Tensor:
        _, count = self.ended.pop(number)
        new = list(range(count))
        with torch.no_grad():
            found = self.model(torch.tensor([self.token_ids[number] + new]), output_hidden_states=True)
        hidden: Tensor = found.hidden_states[-1][0, -num_tokens - 1 : -1]
        return hidden

    @torch.no_grad()
    def outcomes(self, states: Tensor, ids: Tensor) -> Tensor:
        return outcome_logprobs_of(self.model.lm_head(states), ids, VOCAB_SIZE)

    def load_weights(self, weights: Sequence[tuple[str, Tensor]]) -> None:
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, weight in weights:
                if name != self.stuck:
                    own[name].copy_(weight)


@pytest.mark.parametrize(
    "stuck",
    [
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.self_attn.v_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
    ],
)
def test_weights_that_stay_what_they_were_are_found_at_the_start(folder: Path, stuck: str) -> None:
    reason = refusal(Scaled(folder, stuck), str(folder), "float32", VOCAB_SIZE, float_outline(folder))
    assert reason is not None
    assert "some of the old ones are left" in reason


def test_a_model_that_takes_all_weights_is_not_refused_and_has_its_own_again(folder: Path) -> None:
    llm = Scaled(folder, stuck="")
    assert refusal(llm, str(folder), "float32", VOCAB_SIZE, float_outline(folder)) is None
    for name, weight in weights_of(folder).items():
        assert torch.equal(dict(llm.model.named_parameters())[name], weight)


def test_states_that_belong_to_other_tokens_are_found_at_the_start(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    llm = Scaled(folder, stuck="")
    monkeypatch.setattr(llm, "agrees", lambda *arguments: False)
    reason = refusal(llm, str(folder), "float32", VOCAB_SIZE, float_outline(folder))
    assert reason == "its hidden states are not those that its tokens follow from"


def float_outline(folder: Path) -> Outline:
    return Outline(read_model_config(str(folder), "student.model"), torch.float32)
