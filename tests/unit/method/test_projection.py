"""Losses from hidden states in pieces against the whole form: values, gradients, number types."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn import functional

from adaswitch.method.batching import Batch, make_batch
from adaswitch.method.distribution import top_k
from adaswitch.method.losses import LOSSES, AnyLoss
from adaswitch.method.losses.base import DivergenceLoss, Loss
from adaswitch.method.projection import Head, projected_share
from adaswitch.method.rollout import Rollout
from adaswitch.method.step_loss import loss_share, total_weight, weighed
from tests.fakes import random_rollout

V, WIDTH, EXTRA = 11, 6, 2
ROLLOUTS = [
    random_rollout(i, num_prompt=2, num_student=student, num_teacher=teacher)
    for i, (student, teacher) in enumerate([(4, 3), (0, 5), (2, 0), (1, 1)])
]
BATCH = make_batch(ROLLOUTS)
KINDS = [
    kind.model_fields["kind"].default for kind in LOSSES if kind.model_fields["kind"].default != "custom"
]
STAGES = [(1.0, 1.0), (0.3, 2.0), (0.0, 1.0), (1.0, 0.0)]


def loss_of(**settings: object) -> Loss:
    loss: Loss = TypeAdapter(AnyLoss).validate_python(settings)
    return loss


def leaves(dtype: torch.dtype, *, with_bias: bool = True) -> list[Tensor]:
    """Hidden states, a head's weight, and its bias."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(BATCH.num_tokens, WIDTH), (V + EXTRA, WIDTH), (V + EXTRA,)][: 2 + with_bias]
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in shapes
    ]


def whole(loss: Loss, batch: Batch, inputs: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
    losses = loss.token_losses(batch, functional.linear(*inputs))
    share = loss_share(losses, batch.weights, total_weight(weighed(loss, ROLLOUTS)))
    return share, losses, list(torch.autograd.grad(share, inputs))


def in_pieces(
    loss: Loss, batch: Batch, inputs: list[Tensor], num_rows: int | None
) -> tuple[Tensor, Tensor, list[Tensor]]:
    weight = total_weight(weighed(loss, ROLLOUTS))
    share, losses = projected_share(loss, batch, inputs[0], Head(*inputs[1:]), weight, num_rows)
    return share, losses, list(torch.autograd.grad(share, inputs))


def with_weights(rollout: Rollout) -> Rollout:
    """The rollout with a weight of its own for each token, thirds among them, and one that is 0."""
    return replace(rollout, token_weights=np.arange(rollout.num_tokens) / 3)


def settings_of(kind: str) -> list[dict[str, object]]:
    """Both stages' weights, with temperatures and shares of cross entropy where the loss has them."""
    kinds = {loss.model_fields["kind"].default: loss for loss in LOSSES}
    more: list[dict[str, object]] = [{}]
    if issubclass(kinds[kind], DivergenceLoss):
        pairs = product([1.0, 0.5, 2.0], [0.0, 0.4, 1.0])
        more = [{"temperature": t, "cross_entropy_weight": w} for t, w in pairs]
    return [
        {"kind": kind, "exploration_weight": student, "guidance_weight": teacher, **others}
        for (student, teacher), others in product(STAGES, more)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_rows", [1, 3, 16, None])
def test_every_loss_in_pieces_is_exactly_the_whole_one_in_float64(kind: str, num_rows: int | None) -> None:
    for settings in settings_of(kind):
        loss, inputs = loss_of(**settings), leaves(torch.float64)
        batch = make_batch(weighed(loss, [with_weights(rollout) for rollout in ROLLOUTS]))
        share, losses, slopes = whole(loss, batch, inputs)
        found = in_pieces(loss, batch, inputs, num_rows)
        torch.testing.assert_close(found[0], share.detach(), rtol=1e-12, atol=1e-13, msg=str(settings))
        torch.testing.assert_close(found[1], losses.detach(), rtol=1e-12, atol=1e-13)
        assert found[1].dtype == torch.float64
        for mine, theirs in zip(found[2], slopes, strict=True):
            assert theirs.any()
            torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-14, msg=str(settings))


def test_every_candidate_may_be_in_the_teachers_rows() -> None:
    # Without a tail, whose log-probability is then minus infinity.
    full = [replace(r, teacher=top_k(torch.randn(r.num_tokens, V).log_softmax(-1), V)) for r in ROLLOUTS]
    loss, batch, inputs = loss_of(kind="jsd"), make_batch(full), leaves(torch.float64)
    for mine, theirs in zip(in_pieces(loss, batch, inputs, 4)[2], whole(loss, batch, inputs)[2], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-14)


def test_the_logits_are_never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, inputs, seen = loss_of(kind="forward_kl"), leaves(torch.float32), list[int]()
    token_losses = type(loss).token_losses

    def noted(self: Loss, batch: Batch, logits: Tensor) -> Tensor:
        seen.append(len(logits))
        assert batch.num_tokens == len(logits)
        return token_losses(self, batch, logits)

    monkeypatch.setattr(type(loss), "token_losses", noted)
    in_pieces(loss, BATCH, inputs, 5)
    assert seen == [5, 5, 5, 1]


def test_what_comes_after_the_share_scales_the_gradients() -> None:
    loss, inputs = loss_of(kind="reverse_kl"), leaves(torch.float64)
    share, _ = projected_share(loss, BATCH, inputs[0], Head(*inputs[1:]), 7.0, 4)
    scaled = torch.autograd.grad(-3.0 * share, inputs)
    share, _ = projected_share(loss, BATCH, inputs[0], Head(*inputs[1:]), 7.0, 4)
    for mine, theirs in zip(scaled, torch.autograd.grad(share, inputs), strict=True):
        torch.testing.assert_close(mine, -3.0 * theirs)


def test_the_gradients_are_had_once_and_never_stale() -> None:
    loss, inputs = loss_of(kind="forward_kl"), leaves(torch.float32)
    share, _ = projected_share(loss, BATCH, inputs[0], Head(*inputs[1:]), 1.0, 4)
    share.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        share.backward()


def test_a_frozen_head_has_no_gradient_and_hidden_states_have_theirs() -> None:
    loss, inputs = loss_of(kind="forward_kl"), leaves(torch.float64)
    expected = whole(loss, BATCH, inputs)[2][0]
    for frozen in inputs[1:]:
        frozen.requires_grad_(False)
    share, _ = projected_share(
        loss, BATCH, inputs[0], Head(*inputs[1:]), total_weight(weighed(loss, ROLLOUTS)), 3
    )
    share.backward()
    torch.testing.assert_close(inputs[0].grad, expected)
    assert inputs[1].grad is None
    assert inputs[2].grad is None


def test_a_head_without_a_bias() -> None:
    loss, inputs = loss_of(kind="forward_kl"), leaves(torch.float64, with_bias=False)
    for mine, theirs in zip(in_pieces(loss, BATCH, inputs, 4)[2], whole(loss, BATCH, inputs)[2], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-14)


def test_the_heads_gradient_adds_up_in_float32_where_logits_are_bfloat16() -> None:
    """Thousands of small parts, one piece each: in bfloat16 they would stop to count."""
    many = [random_rollout(i, num_prompt=1, num_student=200, num_teacher=0) for i in range(5)]
    batch, loss = make_batch(many), loss_of(kind="cross_entropy")
    # Every token and every hidden state alike, so that each piece adds the same.
    batch = replace(batch, token_ids=torch.ones_like(batch.token_ids))
    hidden = torch.ones(batch.num_tokens, WIDTH, dtype=torch.bfloat16)
    weight = torch.zeros(V, WIDTH, requires_grad=True)
    share, _ = projected_share(loss, batch, hidden, Head(weight), 1.0, 1)
    share.backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    expected = torch.full((V, WIDTH), 1 / V)
    expected[1] -= 1
    torch.testing.assert_close(weight.grad / batch.num_tokens, expected, rtol=5e-3, atol=0)


def test_parts_of_a_batch_are_the_batch() -> None:
    parts = [BATCH.part(start, min(start + 5, BATCH.num_tokens)) for start in range(0, BATCH.num_tokens, 5)]
    logits = torch.randn(BATCH.num_tokens, V)
    for name in ("row", "column", "token_ids", "top_ids", "teacher_logprobs", "by_teacher"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(BATCH, name))
    joined = torch.cat([part.cross_entropy(logits[i * 5 :][:5]) for i, part in enumerate(parts)])
    torch.testing.assert_close(joined, BATCH.cross_entropy(logits))
