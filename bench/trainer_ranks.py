"""The side of ``bench.trainer`` that trains in one or two processes with a thread each, on gloo and without Ray."""

import socket
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from adaswitch.config.trainer import TrainerConfig
from bench.trainer_sides import BATCH, COMPLETION_TOKENS, full_batch, student
from trainer.learner import Learner
from trainer.ranks.sharded import Sharded
from trainer.world import ALONE

NUM_STEPS = 4
"""The first does not count."""


def pace(num_ranks: int) -> float:
    """The completion tokens a second that ``num_ranks`` processes train on."""
    if num_ranks == 1:
        return _pace(Learner(student(), TrainerConfig(), "cpu", world=ALONE))
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
        free.close()
        result = Path(folder, "pace")
        spawn(_rank, args=(num_ranks, port, result), nprocs=num_ranks)
        return float(result.read_text(encoding="utf-8"))


def _rank(rank: int, num_ranks: int, port: int, result: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=num_ranks)
    world = Sharded(rank, num_ranks, "cpu")
    found = _pace(Learner(student(), TrainerConfig(), "cpu", world=world))
    if rank == 0:
        result.write_text(str(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


def _pace(learner: Learner) -> float:
    seconds = []
    step = full_batch()
    for number in range(NUM_STEPS):
        started_s = time.perf_counter()
        learner.update(step, number)
        seconds.append(time.perf_counter() - started_s)
    return BATCH * COMPLETION_TOKENS / median(seconds[1:])
