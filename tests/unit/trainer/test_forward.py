"""The forward pass of training: which models and losses are projected in pieces, and that it changes nothing."""

from typing import Any

import pytest
import torch
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
)

from adaswitch.config.trainer import TrainerConfig
from adaswitch.method import projection
from tests.fakes import random_rollout
from trainer import forward
from trainer.learner import Learner
from trainer.model_parts import are_same, head_of

SHAPE: dict[str, Any] = {
    "vocab_size": 13,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
STEP = [
    random_rollout(i, num_prompt=prompt, num_student=student, num_teacher=teacher)
    for i, (prompt, student, teacher) in enumerate([(3, 4, 3), (1, 0, 5), (6, 2, 0), (2, 1, 1)])
]
TOKENS = torch.tensor([[3, 4, 5, 6, 7]])
WHOLE = "the logits of a micro-batch are computed as a whole: "


def llama(*, tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied))


def capped() -> Gemma2ForCausalLM:
    torch.manual_seed(0)
    return Gemma2ForCausalLM(
        Gemma2Config(
            **SHAPE, final_logit_softcapping=30.0, query_pre_attn_scalar=8, attn_implementation="eager"
        )
    )


def learner(model: PreTrainedModel, **settings: object) -> Learner:
    optimizer = {"learning_rate": 1e-2, "warmup_steps": 0, "max_grad_norm": 1e6}
    config = TrainerConfig.model_validate({"optimizer": optimizer, "micro_batch_size": 3, **settings})
    return Learner(model, config, "cpu")


def slopes(one: Learner) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in one.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["forward_kl", "jsd", "cross_entropy"])
def test_an_update_in_pieces_is_that_of_the_whole(
    kind: str, tied: bool, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"loss": {"kind": kind, "exploration_weight": 0.5}, "gradient_checkpointing": checkpointing}
    monkeypatch.setitem(projection.PIECE_ELEMENTS, "cpu", 4 * SHAPE["vocab_size"])
    pieces = learner(llama(tied=tied), **settings)
    found = pieces.update(STEP, 0)
    monkeypatch.setattr(forward, "head_of", lambda model, token_ids: None)
    whole = learner(llama(tied=tied), **settings)
    expected = whole.update(STEP, 0)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.loss_on_student_tokens == pytest.approx(expected.loss_on_student_tokens, rel=1e-6)
    assert found.num_tokens == expected.num_tokens
    assert slopes(pieces).keys() == slopes(whole).keys()
    for name, slope in slopes(whole).items():
        torch.testing.assert_close(slopes(pieces)[name], slope, rtol=1e-5, atol=1e-8)


def test_bfloat16_in_pieces_is_near_the_whole_and_the_gradients_stay_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(projection.PIECE_ELEMENTS, "cpu", 4 * SHAPE["vocab_size"])
    pieces = learner(llama(), dtype="bfloat16")
    found = pieces.update(STEP, 0)
    monkeypatch.setattr(forward, "head_of", lambda model, token_ids: None)
    whole = learner(llama(), dtype="bfloat16")
    assert found.loss == pytest.approx(whole.update(STEP, 0).loss, rel=1e-3)
    for name, slope in slopes(whole).items():
        assert slopes(pieces)[name].dtype == torch.float32
        assert (slopes(pieces)[name] - slope).norm() < 0.02 * slope.norm(), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nobody_sees_all_logits_at_once(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(projection.PIECE_ELEMENTS, "cpu", 4 * SHAPE["vocab_size"])
    one, most = learner(llama(), dtype=dtype), []
    seen = type(one._config.loss).token_losses

    def noted(self: Any, batch: Any, logits: torch.Tensor) -> torch.Tensor:
        most.append(len(logits))
        return seen(self, batch, logits)

    monkeypatch.setattr(type(one._config.loss), "token_losses", noted)
    one.update(STEP, 0)
    assert max(most) == 4
    assert sum(most) == sum(rollout.num_tokens for rollout in STEP)


def test_a_model_whose_logits_are_more_than_its_heads_outputs_is_trained_as_a_whole_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = learner(capped())
    one.update(STEP, 0)
    one.update(STEP, 1)
    assert capsys.readouterr().out == f"{WHOLE}those of this model are more than its head's outputs\n"
    learner(llama()).update(STEP, 0)
    assert capsys.readouterr().out == ""


def granite() -> GraniteForCausalLM:
    return GraniteForCausalLM(
        GraniteConfig(**{k: v for k, v in SHAPE.items() if k != "head_dim"}, logits_scaling=1.001)
    )


def cohere() -> Cohere2ForCausalLM:
    return Cohere2ForCausalLM(Cohere2Config(**SHAPE, logit_scale=0.0625))


@pytest.mark.parametrize("make", [capped, granite, cohere])
def test_soft_caps_and_scales_are_found(make: Any) -> None:
    torch.manual_seed(0)
    assert head_of(make().eval(), TOKENS) is None


def test_a_head_with_a_bias_is_a_head() -> None:
    torch.manual_seed(0)
    model = PhiForCausalLM(PhiConfig(**SHAPE)).eval()
    torch.nn.init.normal_(model.lm_head.bias)
    assert head_of(model, TOKENS) is model.lm_head


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.lm_head.register_forward_hook(lambda _, __, logits: logits + 1),
        lambda model: model.lm_head.register_forward_pre_hook(lambda _, given: (given[0] * 1.01,)),
        lambda model: model.register_forward_hook(lambda _, __, out: setattr(out, "logits", out.logits * 2)),
        lambda model: setattr(model, "lm_head", torch.nn.Sequential(model.lm_head, torch.nn.ReLU())),
    ],
)
def test_whatever_lies_between_hidden_states_and_logits_is_found(change: Any) -> None:
    model = llama().eval()
    assert head_of(model, TOKENS) is model.lm_head
    change(model)
    assert head_of(model, TOKENS) is None


def test_a_look_at_a_model_leaves_nothing_behind() -> None:
    model = llama().eval()
    before = model(input_ids=TOKENS).logits
    head_of(model, TOKENS)
    assert torch.equal(model(input_ids=TOKENS).logits, before)
    assert not model.lm_head._forward_pre_hooks
    assert all(p.grad is None for p in model.parameters())


def test_nothing_is_the_same_as_what_is_not_a_number() -> None:
    numbers = torch.ones(3)
    assert are_same(numbers, numbers)
    assert not are_same(numbers, numbers * torch.nan)
    assert not are_same(numbers * torch.nan, numbers * torch.nan)


def test_a_loss_of_ones_own_sees_whole_micro_batches_unless_its_class_says_otherwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(projection.PIECE_ELEMENTS, "cpu", 4 * SHAPE["vocab_size"])
    path = "tests.own_losses:ByRollout"
    found = learner(llama(), loss={"kind": "custom", "path": path}).update(STEP, 0)
    assert capsys.readouterr().out.startswith(f"{WHOLE}trainer.loss is your own")
    # Each rollout counts the same, whatever its length, which no piece of a rollout could tell.
    one = learner(llama(), loss={"kind": "custom", "path": path}, micro_batch_size=1)
    assert found.loss == pytest.approx(one.update(STEP, 0).loss, rel=1e-5)
    capsys.readouterr()
    plain = learner(llama(), loss={"kind": "cross_entropy"}).update(STEP, 0)
    declared = learner(llama(), loss={"kind": "custom", "path": "tests.own_losses:PerToken"})
    assert declared.update(STEP, 0).loss == pytest.approx(plain.loss, rel=1e-6)
    assert capsys.readouterr().out == ""
