"""Settings of the loss: what is taken, what is refused with one line, and what older files still mean."""

import pytest
from pydantic import TypeAdapter

from adaswitch.config.parsing import parse_config
from adaswitch.errors import ConfigError
from adaswitch.method.losses import AnyLoss
from adaswitch.method.losses.base import Loss
from adaswitch.method.losses.cross_entropy import CrossEntropy
from adaswitch.method.losses.forward_kl import ForwardKL

KINDS = [
    "forward_kl",
    "reverse_kl",
    "jsd",
    "skewed_kl",
    "skewed_reverse_kl",
    "total_variation",
    "cross_entropy",
]


def parse(loss: dict[str, object]) -> Loss:
    document = {"name": "run", "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/x"}}
    return parse_config({**document, "trainer": {"loss": loss}}).trainer.loss


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_alone_is_enough_and_weighs_both_stages_alike(kind: str) -> None:
    loss = parse({"kind": kind})
    assert loss.kind == kind
    assert (loss.exploration_weight, loss.guidance_weight) == (1.0, 1.0)
    if not isinstance(loss, CrossEntropy):
        assert (loss.temperature, loss.cross_entropy_weight) == (1.0, 0.0)


def test_these_are_all_kinds() -> None:
    mapping = TypeAdapter(AnyLoss).json_schema()["discriminator"]["mapping"]
    assert sorted(mapping) == sorted([*KINDS, "custom"])


def test_everything_can_be_set() -> None:
    loss = parse(
        {
            "kind": "forward_kl",
            "temperature": 2.0,
            "cross_entropy_weight": 0.5,
            "exploration_weight": 0.0,
            "guidance_weight": 3,
        }
    )
    assert loss == ForwardKL(
        temperature=2.0, cross_entropy_weight=0.5, exploration_weight=0.0, guidance_weight=3.0
    )


@pytest.mark.parametrize(
    ("loss", "complaint"),
    [
        ({"kind": "jsd", "temperature": 0.0}, "trainer.loss.temperature: Input should be greater than"),
        ({"kind": "jsd", "alpha": 0.5}, "trainer.loss.alpha: unknown setting"),
        ({"kind": "skewed_kl", "alpha": 1.0}, "trainer.loss.alpha: Input should be less than 1"),
        ({"kind": "skewed_reverse_kl", "alpha": 0}, "trainer.loss.alpha: Input should be greater than 0"),
        (
            {"kind": "forward_kl", "cross_entropy_weight": 1.5},
            "trainer.loss.cross_entropy_weight: Input should be less than or equal to 1",
        ),
        ({"kind": "cross_entropy", "temperature": 2.0}, "trainer.loss.temperature: unknown setting"),
        (
            {"kind": "cross_entropy", "exploration_weight": -1},
            "trainer.loss.exploration_weight: Input should be greater than or equal to 0",
        ),
        (
            {"kind": "cross_entropy", "guidance_weight": 1e-6},
            "trainer.loss.guidance_weight: must be 0 or at least 0.001",
        ),
        (
            {"kind": "reverse_kl", "exploration_weight": 0, "guidance_weight": 0.0},
            "trainer.loss: exploration_weight and guidance_weight are both 0, so nothing would be learnt: "
            "set at least one above 0",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(loss: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(loss)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "setting"),
    [
        ("on_policy", "exploration_weight"),
        ("off_policy", "guidance_weight"),
        ("dataset", "guidance_weight"),
    ],
)
def test_weights_under_which_no_token_counts_are_refused(policy: str, setting: str) -> None:
    document = {"name": "run", "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/x"}}
    trainer = {"loss": {"kind": "forward_kl", setting: 0}}
    with pytest.raises(ConfigError, match=f"{setting} 0 with policy {policy}: no token would count"):
        parse_config({**document, "policy": {"kind": policy}, "trainer": trainer})
    parse_config({**document, "policy": {"kind": "adaswitch"}, "trainer": trainer})
