"""The rollout policies: who writes a completion. ← To change the rollout, change or add one here.

Each is an ``async def`` over the two roles of ``adaswitch.method.roles``; its settings are in ``config/policy.py``.
"""

from adaswitch.config.policy import (
    AdaSwitchPolicyConfig,
    DatasetPolicyConfig,
    MixedPolicyConfig,
    OffPolicyConfig,
    OnPolicyConfig,
    PolicyConfig,
    RandomSwitchPolicyConfig,
    RelayPolicyConfig,
    ReplayPolicyConfig,
    SharedScalePolicyConfig,
    SKDPolicyConfig,
    ThresholdPolicyConfig,
)
from adaswitch.errors import ConfigError
from adaswitch.method.policies.adaptive import adaswitch
from adaswitch.method.policies.controls import random_switch, shared_scale, threshold
from adaswitch.method.policies.hand_back import relay, skd
from adaswitch.method.policies.one_writer import dataset, mixed, off_policy, on_policy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Student, Teacher
from adaswitch.method.rollout import Rollout

__all__ = [
    "adaswitch",
    "dataset",
    "mixed",
    "off_policy",
    "on_policy",
    "random_switch",
    "relay",
    "run_policy",
    "shared_scale",
    "skd",
    "threshold",
]


async def run_policy(
    config: PolicyConfig, prompt: Prompt, student: Student, teacher: Teacher, budget: Budget
) -> Rollout:
    """The rollout of ``prompt`` by the policy that ``config`` chooses."""
    match config:
        case AdaSwitchPolicyConfig():
            return await adaswitch(prompt, student, teacher, budget, config)
        case ThresholdPolicyConfig():
            return await threshold(prompt, student, teacher, budget, config)
        case SharedScalePolicyConfig():
            return await shared_scale(prompt, student, teacher, budget, config)
        case OnPolicyConfig():
            return await on_policy(prompt, student, teacher, budget, config)
        case OffPolicyConfig():
            return await off_policy(prompt, student, teacher, budget, config)
        case DatasetPolicyConfig():
            return await dataset(prompt, student, teacher, budget, config)
        case MixedPolicyConfig():
            return await mixed(prompt, student, teacher, budget, config)
        case SKDPolicyConfig():
            return await skd(prompt, student, teacher, budget, config)
        case RelayPolicyConfig():
            return await relay(prompt, student, teacher, budget, config)
        case RandomSwitchPolicyConfig():
            return await random_switch(prompt, student, teacher, budget, config)
        case ReplayPolicyConfig():
            raise ConfigError("policy.kind: replay reads rollouts and writes none; it needs no students")
