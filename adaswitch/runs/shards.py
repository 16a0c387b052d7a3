"""Rollout shards, one file for each step. A module of its own, because run directories are also read without torch."""

from collections.abc import Sequence
from pathlib import Path

from adaswitch.contract.rollout_codec import decode_rollouts, encode_rollouts
from adaswitch.method.rollout import Rollout
from adaswitch.runs.directory import RunDirectory, write_atomically


def save_rollouts(run: RunDirectory, step: int, rollouts: Sequence[Rollout]) -> None:
    """Write the shard of one step, either whole or not at all."""
    write_atomically(run.rollouts / f"step-{step:06d}.safetensors", encode_rollouts(rollouts))


def read_shard(path: Path) -> list[Rollout]:
    """The rollouts of one shard. Raises ``DataError`` for a damaged shard."""
    return decode_rollouts(path.read_bytes(), source=str(path))
