"""Compiled layers: the same loss and gradient, nothing compiled anew for other sizes, in training alone."""

import shutil
from collections.abc import Iterator
from typing import NoReturn

import pytest
import torch
from torch._dynamo.utils import counters

from adaswitch.data.causal_lm import layers_of
from adaswitch.errors import ModelError
from adaswitch.evaluation.transformers_writer import TransformersWriter
from adaswitch.evaluation.writer import Rules, Unwritten
from adaswitch.preflight.training import compilers
from tests.unit.trainer.test_forward import STEP, learner, llama, slopes
from trainer import compiled
from trainer.learner import Learner

TRACED = "aot_eager"
"""Traces forward and backward pass as inductor does, and writes no code, which takes most of the time."""

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of itself while it is compiling


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """Nothing of another test is compiled already, or counted."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def num_compiled() -> int:
    return int(counters["stats"]["unique_graphs"])


def require_alike(one: Learner, other: Learner) -> None:
    """Two steps of different sizes have the same loss and gradient."""
    for step, rollouts in enumerate((STEP, STEP[1:])):
        found, expected = one.update(rollouts, step), other.update(rollouts, step)
        assert found.loss == pytest.approx(expected.loss, abs=1e-6)
        for name, slope in slopes(other).items():
            torch.testing.assert_close(slopes(one)[name], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not any(map(shutil.which, compilers())), reason="there is no C++ compiler")
def test_packed_rows_by_inductor() -> None:
    settings = {"micro_batch_tokens": 20}
    one = learner(llama(), **settings, compile=True)
    require_alike(one, learner(llama(), **settings))
    assert num_compiled() == 1, "both layers, and rows of all lengths, share one graph"
    rules = Rules(0.0, 0, stop_token_ids=(12,), max_new_tokens=6, vocab_size=13, batch_size=2)
    texts = [Unwritten((3, 4, 5), 0), Unwritten((6,), 1)]
    assert len([text for texts in TransformersWriter(one.model).write(texts, rules) for text in texts]) == 2
    assert num_compiled() == 1, "what is written is computed without"


def test_padded_rows_and_activations_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", TRACED)
    settings = {"micro_batch_size": 2, "gradient_checkpointing": True}
    require_alike(learner(llama(), **settings, compile=True), learner(llama(), **settings))
    assert num_compiled() <= 2


def test_layers_that_cannot_be_compiled_are_said_in_one_line_and_left_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(graph: object, inputs: object) -> NoReturn:
        raise RuntimeError("no such instruction\nthere")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    one = learner(llama(), compile=True)
    with pytest.raises(
        ModelError, match=r"trainer\.compile: .*no such instruction.*: set it to false"
    ) as caught:
        one.update(STEP, 0)
    assert "\n" not in str(caught.value)
    assert not any("forward" in vars(layer) for layer in layers_of(one.model))
