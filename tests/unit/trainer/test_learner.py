"""The learner on a random tiny model: weights by stage, micro-batches, what an update reports and refuses."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from adaswitch.config.trainer import TrainerConfig
from adaswitch.errors import ConfigError, NonFiniteError, OwnCodeError
from adaswitch.method.batching import make_batch
from adaswitch.method.rollout import Rollout
from tests.fakes import random_rollout
from trainer.learner import Learner

V = 11
KINDS = [
    "forward_kl",
    "reverse_kl",
    "jsd",
    "skewed_kl",
    "skewed_reverse_kl",
    "total_variation",
    "cross_entropy",
]
MIXED = [(3, 4, 3), (1, 0, 5), (6, 2, 0), (2, 1, 1)]


def rollouts(*lengths: tuple[int, int, int]) -> list[Rollout]:
    """Tokens of each prompt, by the student and by the teacher."""
    return [
        random_rollout(i, num_prompt=prompt, num_student=student, num_teacher=teacher)
        for i, (prompt, student, teacher) in enumerate(lengths)
    ]


def learner(**settings: object) -> Learner:
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V + 2,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=32,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    # Never clipped, so that gradients can be compared.
    optimizer = {"learning_rate": 1e-2, "warmup_steps": 0, "max_grad_norm": 1e6}
    return Learner(model, TrainerConfig.model_validate({"optimizer": optimizer, **settings}), "cpu")


def gradients(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in learner.model.named_parameters() if p.grad is not None}


def losses_by_hand(learner: Learner, step: list[Rollout]) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each token, one rollout at a time, and who wrote it."""
    values, by_teacher = [], []
    for rollout in step:
        batch = make_batch([rollout])
        with torch.no_grad():
            logits = learner.model(
                input_ids=batch.input_ids, logits_to_keep=batch.num_completion_columns + 1
            ).logits
        values.append(learner._config.loss.token_losses(batch, batch.completion_logits(logits)))
        by_teacher.append(batch.by_teacher)
    return torch.cat(values), torch.cat(by_teacher)


LOSSES = [
    {"kind": "forward_kl"},
    {"kind": "skewed_reverse_kl", "exploration_weight": 0.25, "guidance_weight": 2.0},
    {"kind": "jsd", "exploration_weight": 0.0, "cross_entropy_weight": 0.5, "temperature": 2.0},
    {"kind": "cross_entropy", "guidance_weight": 0.0},
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("size", [1, 3, 4])
def test_an_update_reports_what_can_be_worked_out_by_hand(loss: dict[str, object], size: int) -> None:
    step = rollouts(*MIXED)
    values, by_teacher = losses_by_hand(learner(loss=loss), step)
    update = learner(loss=loss, micro_batch_size=size).update(step, 0)
    of_student, of_teacher = (
        float(loss.get("exploration_weight", 1.0)),
        float(loss.get("guidance_weight", 1.0)),
    )
    weights = torch.where(by_teacher, of_teacher, of_student)
    assert update.loss == pytest.approx(((weights * values).sum() / weights.sum()).item(), rel=1e-5)
    # The means by writer are plain ones: what a stage of weight 0 does is still worth seeing.
    assert update.loss_on_student_tokens == pytest.approx(values[~by_teacher].mean().item(), rel=1e-5)
    assert update.loss_on_teacher_tokens == pytest.approx(values[by_teacher].mean().item(), rel=1e-5)
    assert update.num_tokens == len(values)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_micro_batches_change_no_gradient(loss: dict[str, object]) -> None:
    found = []
    for size in (4, 1, 3):
        one = learner(loss=loss, micro_batch_size=size)
        update = one.update(rollouts(*MIXED), 0)
        found.append((gradients(one), update))
    for slopes, update in found[1:]:
        assert update.grad_norm == pytest.approx(found[0][1].grad_norm, rel=1e-4)
        for name, slope in slopes.items():
            torch.testing.assert_close(slope, found[0][0][name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_goes_down(kind: str) -> None:
    one = learner(loss={"kind": kind}, num_steps=1000)
    losses = [one.update(rollouts(*MIXED), 0).loss for _ in range(30)]
    assert losses[29] < 0.8 * losses[0]


def test_a_step_computes_what_the_model_computes_when_it_writes() -> None:
    one = learner()
    for module in one.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.9
    values, _ = losses_by_hand(learner(), rollouts(*MIXED))
    assert one.update(rollouts(*MIXED), 0).loss == pytest.approx(values.mean().item(), rel=1e-5)


def test_activations_that_are_computed_again_change_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    num_calls = []
    forward = LlamaDecoderLayer.forward

    def counted(*arguments: object, **inputs: object) -> object:
        num_calls.append(torch.is_grad_enabled())
        return forward(*arguments, **inputs)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", counted)
    found = []
    for checkpointing in (False, True):
        one = learner(gradient_checkpointing=checkpointing)
        one.update(rollouts(*MIXED), 0)
        found.append((gradients(one), sum(num_calls)))
        num_calls.clear()
    assert found[1][1] == 2 * found[0][1], "each layer once more in the backward pass"
    for name, slope in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], slope)


def test_a_class_that_cannot_compute_activations_again_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaForCausalLM, "supports_gradient_checkpointing", False)
    with pytest.raises(
        ConfigError, match=r"^trainer.gradient_checkpointing: LlamaForCausalLM does not.*set it to"
    ):
        learner(gradient_checkpointing=True)


def test_only_the_ratio_of_the_weights_matters() -> None:
    found = []
    for scale in (1, 8):
        one = learner(
            loss={"kind": "forward_kl", "exploration_weight": 0.5 * scale, "guidance_weight": scale * 1.0}
        )
        one.update(rollouts(*MIXED), 0)
        found.append(gradients(one))
    for name, slope in found[0].items():
        torch.testing.assert_close(found[1][name], slope)


def test_a_stage_of_weight_zero_teaches_nothing() -> None:
    # A rollout of the student's alone beside one of the teacher's alone: as if the former were not there.
    both, alone = (learner(loss={"kind": "reverse_kl", "exploration_weight": 0.0}) for _ in range(2))
    one, other = rollouts((3, 5, 0), (2, 0, 4))
    both.update([one, other], 0)
    alone.update([other], 0)
    for name, slope in gradients(alone).items():
        torch.testing.assert_close(gradients(both)[name], slope, rtol=1e-4, atol=1e-7)


def test_a_step_in_which_no_token_counts_has_neither_loss_nor_gradient() -> None:
    one = learner(loss={"kind": "forward_kl", "exploration_weight": 0.0})
    before = {name: tensor.clone() for name, tensor in one.weights().items()}
    update = one.update(rollouts((3, 5, 0), (2, 4, 0)), 0)
    assert (update.loss, update.grad_norm) == (0.0, 0.0)
    assert update.loss_on_student_tokens is not None
    assert update.loss_on_student_tokens > 0
    assert update.loss_on_teacher_tokens is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.weights().items())


def test_a_loss_that_is_not_finite_is_refused_even_where_the_gradient_is_not() -> None:
    one = learner()
    # KL(teacher || student) of a token that the student rules out is infinite, its gradient is not.
    one.model.lm_head.register_forward_hook(
        lambda _, __, logits: logits.index_fill(-1, torch.arange(V // 2), -torch.inf)
    )
    before = {name: tensor.clone() for name, tensor in one.weights().items()}
    with pytest.raises(NonFiniteError, match="the loss of step 0 is inf"):
        one.update(rollouts(*MIXED), 0)
    assert all(slope.isfinite().all() for slope in gradients(one).values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.weights().items())


@pytest.mark.parametrize("name", ["model.norm.weight", "lm_head.weight"])
def test_weights_that_are_not_finite_are_named_with_step_and_learning_rate(name):
    one = learner()
    one.weights()[name].fill_(torch.nan)
    words = r"weights are not finite after step 7, at a learning rate of 0\.00998, \(" + name
    with pytest.raises(NonFiniteError, match=words):
        one.update(rollouts(*MIXED), 7)
    with pytest.raises(NonFiniteError, match=words), one.explaining(7):
        raise NonFiniteError("the model's logits are not finite")
    with pytest.raises(NonFiniteError, match=words):
        one.require_finite_weights(7)


def test_a_loss_whose_gradient_torch_refuses_is_named():
    one = learner(loss={"kind": "custom", "path": "tests.own_rules:InPlace"})
    with pytest.raises(OwnCodeError, match="torch cannot compute the gradient of tests"):
        one.update(rollouts(*MIXED), 0)


def test_a_learning_rate_beyond_all_bounds_is_named_before_anything_is_changed():
    one = learner(optimizer={"learning_rate": 1e38, "warmup_steps": 0})
    before = {name: tensor.clone() for name, tensor in one.weights().items()}
    with pytest.raises(
        NonFiniteError, match=r"the update of step 0 is not finite, at a learning rate of 1e\+38"
    ):
        one.update(rollouts(*MIXED), 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.weights().items())
    assert not one.optimizer.state


@pytest.mark.parametrize("recomputed", [False, True])
def test_training_computes_what_the_model_that_writes_computes(recomputed: bool) -> None:
    """Nothing is dropped at random, also where activations are computed again."""

    class Loud(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.dropout(self.inner(hidden), 0.5, self.training)

    step = rollouts(*MIXED)
    plain, loud = learner(), learner(gradient_checkpointing=recomputed)
    [layer] = loud.model.get_submodule("model.layers")
    layer.mlp = Loud(layer.mlp)
    before = torch.get_rng_state()
    assert loud.update(step, 0).loss == pytest.approx(plain.update(step, 0).loss, rel=1e-6)
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.training == recomputed
