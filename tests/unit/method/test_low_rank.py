"""Low-rank adapters: the gradients of the factors against the closed form, and what travels to students."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.method.low_rank import Factors, LoRA, as_published, published_factors

SIZES = st.integers(1, 6)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(SIZES, SIZES, SIZES, st.floats(0.25, 64), st.integers(0, 99))
def test_the_gradients_of_the_factors_are_those_of_the_whole_weight_in_their_directions(
    out: int, width: int, rank: int, alpha: float, seed: int
) -> None:
    own, inputs = drawn(seed, out, width), drawn(seed + 1, 5, width)
    outer, inner = drawn(seed + 2, out, rank).requires_grad_(), drawn(seed + 3, rank, width).requires_grad_()
    scale = alpha / rank
    weight = Factors(scale * outer, inner).added_to(own)
    (inputs @ weight.t()).sin().sum().backward()
    whole = (own + scale * outer @ inner).detach().requires_grad_()
    (inputs @ whole.t()).sin().sum().backward()
    torch.testing.assert_close(outer.grad, scale * whole.grad @ inner.t())
    torch.testing.assert_close(inner.grad, scale * outer.t() @ whole.grad)


def test_a_weight_in_fewer_bits_is_merged_in_the_bits_of_the_factors() -> None:
    own = drawn(0, 3, 4).bfloat16()
    factors = Factors(drawn(1, 3, 2).float(), drawn(2, 2, 4).float())
    merged = factors.added_to(own)
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged, own.float() + factors.left @ factors.right)


def test_factors_come_out_as_they_went_in_and_whole_weights_are_told_apart() -> None:
    factors = {name: Factors(drawn(0, 3, 2), drawn(1, 2, 4)) for name in ("a.weight", "b.weight")}
    published = as_published(factors)
    assert len(published) == 4
    found = published_factors(published)
    assert found is not None
    assert found.keys() == factors.keys()
    assert all(
        found[name].left is each.left and found[name].right is each.right for name, each in factors.items()
    )
    assert published_factors({"a.weight": drawn(0, 2, 2)}) is None
    del published["a.weight.lora_right"]
    with pytest.raises(KeyError, match=r"a\.weight\.lora_right"):
        published_factors(published)


@pytest.mark.parametrize(
    "settings",
    [
        {"rank": 0},
        {"alpha": 0.0},
        {"dropout": 1.0},
        {"target_modules": []},
        {"target_modules": ["q_proj", ""]},
    ],
    ids=str,
)
def test_settings_that_make_no_adapter_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        LoRA.model_validate(settings)
