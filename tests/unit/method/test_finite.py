"""Why a number is not finite: the weights come first, with the step and the learning rate."""

import pytest
import torch

from adaswitch.errors import NonFiniteError
from adaswitch.method.finite import explained, non_finite_weight, weights_problem
from adaswitch.method.learning_rate import OptimizerConfig, last_learning_rate

ERROR = NonFiniteError("a forward_kl divergence is nan")


def weights(value: float, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"embedding": torch.ones(3, 2, dtype=dtype), "head": torch.tensor([1.0, value], dtype=dtype)}


def test_the_first_weight_that_is_not_finite_is_named() -> None:
    assert non_finite_weight(weights(2.0)) is None
    assert non_finite_weight(weights(float("nan"))) == "head holds nan"
    assert non_finite_weight(weights(-float("inf"))) == "head holds infinity"
    assert non_finite_weight({}) is None


def test_weights_that_are_not_finite_are_blamed_with_step_and_learning_rate() -> None:
    said = explained(ERROR, weights(float("nan")), 12, 0.5)
    assert said == weights_problem(weights(float("nan")), 12, 0.5)
    assert said == (
        "the student's weights are not finite after step 12, at a learning rate of 0.5, (head holds nan): lower "
        "trainer.optimizer.learning_rate"
    )
    assert "float16 ends at 65,504" in explained(ERROR, weights(1e6, torch.float16), 12, 0.5)
    assert "student.model is damaged" in explained(ERROR, weights(float("nan")), 0, None)


@pytest.mark.parametrize(("value", "is_blamed"), [(3.0, False), (3e10, True)])
def test_finite_weights_are_said_to_be_so_and_blamed_if_they_are_huge(value: float, is_blamed: bool) -> None:
    said = explained(ERROR, weights(value), 12, 0.5)
    assert said.startswith(
        f"{ERROR} (the student's weights after step 12, at a learning rate of 0.5, are finite, "
    )
    assert f"the largest is {value:.3g}" in said
    assert ("lower trainer.optimizer.learning_rate" in said) is is_blamed


def test_the_learning_rate_is_that_of_the_update_before() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=4)
    assert last_learning_rate(config, 0, 10) is None
    assert last_learning_rate(config, 1, 10) == 0.25
