"""AdamW with means in 8 bits: near the usual AdamW, a quarter of its memory, and resumed exactly."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError
from adaswitch.method.learning_rate import OptimizerConfig, learning_rate
from tests.unit.trainer.test_fine_tuning_run import config, trained
from tests.unit.trainer.test_forward import STEP, learner, llama
from trainer.optimizers import make_optimizer, set_learning_rate, state_bytes

needs_torchao = pytest.mark.skipif(
    find_spec("torchao") is None, reason="torchao is not installed: pip install 'adaswitch[adamw8bit]'"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # torchao's import and torch's compiler warn of themselves
BITS_8 = {"kind": "adamw_8bit", "learning_rate": 1e-3, "warmup_steps": 0, "schedule": "linear"}


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    """The same updates without the compiler, which takes ten seconds for each shape of a weight."""
    with torch.compiler.set_stance("force_eager"):
        yield


def stepped(kind: str, num_steps: int = 20) -> tuple[torch.Tensor, int]:
    """A weight after some steps towards a target, and the bytes of the optimizer's state."""
    torch.manual_seed(0)
    settings = OptimizerConfig.model_validate({**BITS_8, "kind": kind, "learning_rate": 1e-2})
    weight, target = torch.nn.Parameter(torch.randn(128, 64)), torch.randn(128, 64)
    optimizer = make_optimizer(settings, [weight], "cpu")
    for step in range(num_steps):
        set_learning_rate(optimizer, learning_rate(settings, step, num_steps))
        optimizer.zero_grad()
        (weight - target).pow(2).sum().backward()
        optimizer.step()
    return weight.detach(), state_bytes(optimizer.state)


@needs_torchao
def test_its_updates_are_near_and_its_state_is_a_quarter() -> None:
    (found, num_bytes), (expected, whole_bytes) = stepped("adamw_8bit"), stepped("adamw")
    moved = (expected - stepped("adamw", 1)[0]).norm()
    assert 0 < (found - expected).norm() < 0.1 * moved
    assert num_bytes < 0.3 * whole_bytes
    assert whole_bytes == 2 * 4 * 128 * 64 + 4


@needs_torchao
def test_the_learning_rate_of_each_step_is_taken() -> None:
    one = learner(llama(), optimizer=BITS_8)
    update = one.update(STEP, 150)
    assert update.learning_rate == pytest.approx(1e-3 * 50 / 200)
    assert float(one.optimizer.param_groups[0]["lr"]) == pytest.approx(update.learning_rate)


@needs_torchao
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = trained(config(tmp_path / "whole", "sft", optimizer=BITS_8))
    trained(config(tmp_path / "stopped", "sft", optimizer=BITS_8), steps=1)
    again = trained(config(tmp_path / "stopped", "sft", optimizer=BITS_8))
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


def test_ranks_are_refused(tmp_path: Path) -> None:
    document = with_ranks(config(tmp_path, "dataset", optimizer=BITS_8))
    with pytest.raises(ConfigError, match=r"trainer\.optimizer\.kind adamw_8bit: .* take adamw, or one rank"):
        parse_config(document)


def with_ranks(settings: RunConfig) -> dict[str, object]:
    document = settings.model_dump(mode="json")
    return {**document, "trainer": {**document["trainer"], "num_ranks": 2}}
