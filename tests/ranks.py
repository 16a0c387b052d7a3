"""Two ranks on this machine, without Ray: processes that work on the same cases and save what they found.

The cases are steps of training. What comes of them is compared with what one process makes of them.
"""

import functools
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from adaswitch.config.trainer import TrainerConfig
from adaswitch.method.rollout import Rollout
from tests.fakes import random_rollout
from trainer.learner import Learner
from trainer.ranks.sharded import Sharded
from trainer.update import Update
from trainer.world import ALONE, World

NUM_RANKS = 2
STUDENT = "models/chain-student"
LORA = {"rank": 3, "alpha": 5.0}


@dataclass(frozen=True)
class Case:
    """A step: its settings, and the tokens of each rollout by prompt, student and teacher."""

    settings: dict[str, Any]
    lengths: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Found:
    """What came of a case: the update, the gradients by name, and weights and optimizer's state after it."""

    update: Update
    gradients: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    again: dict[str, torch.Tensor] = field(default_factory=dict)
    """The weights after a second step, by a learner that took weights and optimizer's state from another."""


EVEN = ((3, 4, 0), (5, 2, 3), (2, 6, 1), (4, 1, 4))
UNEVEN = ((3, 9, 0), (1, 1, 0), (2, 1, 0), (1, 0, 2), (2, 2, 1), (1, 3, 0), (1, 1, 0))
CASES = {
    "padded": Case({"micro_batch_size": 4}, EVEN),
    "many micro-batches": Case({"micro_batch_size": 1}, UNEVEN),
    "packed": Case({"micro_batch_tokens": 12}, UNEVEN),
    "fewer rollouts than ranks": Case({}, ((4, 3, 2),)),
    "whole logits": Case({"loss": {"kind": "jsd", "cross_entropy_weight": 0.5}}, UNEVEN),
    "weights by stage": Case({"loss": {"kind": "reverse_kl", "exploration_weight": 0.25}}, UNEVEN),
    "activations again": Case({"gradient_checkpointing": True}, EVEN),
    "adapters": Case({"lora": LORA, "micro_batch_tokens": 12}, UNEVEN),
    "clipped": Case({"optimizer": {"max_grad_norm": 1e-3, "warmup_steps": 0}}, EVEN),
}
BFLOAT16 = "bfloat16"
ALL_CASES = {**CASES, BFLOAT16: Case({"dtype": "bfloat16"}, UNEVEN)}


def rollouts(case: Case) -> list[Rollout]:
    return [
        random_rollout(i, num_prompt=prompt, num_student=student, num_teacher=teacher, vocab_size=19)
        for i, (prompt, student, teacher) in enumerate(case.lengths)
    ]


def learner(case: Case, world: World) -> Learner:
    torch.manual_seed(0)
    usual = {"optimizer": {"learning_rate": 1e-2, "warmup_steps": 0, "max_grad_norm": 1e6}}
    return Learner.from_folder(
        STUDENT, TrainerConfig.model_validate({**usual, **case.settings}), "cpu", None, world
    )


def found(case: Case, world: World) -> Found:
    """What comes of ``case``. All ranks must ask for the same cases in the same order."""
    one, step = learner(case, world), rollouts(case)
    update = one.update(step, 0)
    gradients = {
        name: world.whole(each.grad).clone()
        for name, each in one.model.named_parameters()
        if each.grad is not None
    }
    weights = {name: weight.clone() for name, weight in one.weights().items()}
    state = {name: weight.clone() for name, weight in one.state_dict().items()}
    return Found(update, gradients, weights, state, one.optimizer_state())


def gone_on(case: Case, before: Found, world: World) -> dict[str, torch.Tensor]:
    """The weights after a second step, by a new learner that takes over what ``before`` has."""
    one = learner(case, world)
    parameters = {name for name, _ in one.model.named_parameters()}
    one.restore_masters({name: weight for name, weight in before.state.items() if name in parameters})
    one.load_optimizer_state(before.optimizer)
    one.update(rollouts(case), 1)
    return one.weights()


def by_two_ranks(folder: Path) -> dict[str, Found]:
    """What two ranks make of all cases. ``again`` starts from what one process made of the first step."""
    alone = {name: found(case, ALONE) for name, case in ALL_CASES.items()}
    torch.save(alone, folder / "alone.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    mp.spawn(_rank, args=(port, folder), nprocs=NUM_RANKS)
    ranks: dict[str, Found] = torch.load(folder / "ranks.pt", weights_only=False)
    return ranks


def _rank(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=NUM_RANKS)
    world = Sharded(rank, NUM_RANKS, "cpu")
    alone: dict[str, Found] = torch.load(folder / "alone.pt", weights_only=False)
    results = {}
    for name, case in ALL_CASES.items():
        result = found(case, world)
        again = gone_on(case, alone[name], world)
        results[name] = Found(**{**vars(result), "again": again})
    if rank == 0:
        torch.save(results, folder / "ranks.pt")
    dist.barrier()
    dist.destroy_process_group()


@functools.cache
def by_one(name: str) -> Found:
    return found(ALL_CASES[name], ALONE)
