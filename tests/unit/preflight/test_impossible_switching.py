"""A policy that can never switch is refused before anything is started."""

import math

import pytest

from adaswitch.errors import ConfigError
from adaswitch.preflight.switching import check_switching
from adaswitch.runs.config_files import load_config

TOKENS, TOP_K = 64, 64
"""Those of the demo."""


def config(policy):
    return load_config("configs/demo.yaml", [f"policy={policy}"])


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("{kind: adaswitch, window: 64}", "policy.window: no switch can come before token 64"),
        ("{kind: adaswitch, floor: 0.7, metric: jsd}", "policy.floor 0.7 with metric jsd: no divergence"),
        ("{kind: threshold, tau: 1, metric: jsd}", "policy.tau 1 with metric jsd"),
        ("{kind: shared_scale, floor: 1, metric: jsd}", "policy.floor 1 with metric jsd"),
        ("{kind: motab, window: 99}", "policy.window: no switch can come before token 99"),
        (
            "{kind: motab, floor: 4.5}",
            "policy.floor 4.5 with teacher.top_k 64: no entropy is above 4.17 nats",
        ),
        ("{kind: take_over, trigger: {kind: adaptive, window: 64}}", "policy.trigger.window: no switch"),
        ("{kind: take_over, trigger: {kind: over_entropy, floor: 1, metric: jsd}}", "policy.trigger.floor 1"),
        ("{kind: switch, tau: 1, decay: 0.001}", "policy.tau 1 falls to 0.939 in 64 tokens with metric jsd"),
        (
            "{kind: take_over, trigger: {kind: accumulated, drift: 30, metric: jsd}}",
            "policy.trigger.drift 30 beyond allowed 0.3 with metric jsd",
        ),
        (f"{{kind: random_switch, positions: {[0.0] * TOKENS + [1.0]}}}", "policy.positions: there is no"),
    ],
)
def test_what_can_never_switch_is_named_with_its_setting(policy, said):
    with pytest.raises(ConfigError) as caught:
        check_switching(config(policy))
    assert str(caught.value).startswith(said)
    assert "so that the teacher never takes over: lower it" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "policy",
    [
        "{kind: adaswitch, window: 63}",
        "{kind: adaswitch, floor: 0.69, metric: jsd}",
        "{kind: adaswitch, floor: 5}",
        "{kind: threshold, tau: 9}",
        f"{{kind: motab, floor: {math.log(TOP_K + 1) - 0.01:g}}}",
        "{kind: switch, tau: 1}",
        "{kind: take_over, trigger: {kind: accumulated, drift: 25, metric: jsd}}",
        "{kind: random_switch, positions: [0.0, 0.5]}",
        "{kind: random_switch, positions: []}",
        f"{{kind: random_switch, positions: {[0.0] * TOKENS}}}",
        "{kind: on_policy}",
        "{kind: off_policy}",
        "{kind: skd}",
        "{kind: replay, run: runs/demo}",
    ],
)
def test_what_may_switch_is_not_refused(policy):
    check_switching(config(policy))
