"""Rollout shards, one file for each step. A module of its own, because run directories are also read without torch."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from adaswitch.contract.rollout_codec import decode_rollouts, encode_rollouts
from adaswitch.errors import DataError
from adaswitch.last_words import one_line
from adaswitch.method.rollout import Rollout
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.recorded import shards_by_step
from adaswitch.storage import write_atomically


def save_rollouts(run: RunDirectory, step: int, rollouts: Sequence[Rollout], keep: bool | int = True) -> None:
    """Write the shard of one step, either whole or not at all, and then remove those that are too old.

    ``keep`` is ``trainer.save_rollouts``: a number keeps the shards of so many steps up to ``step``. Shards of later
    steps, which an earlier attempt may have left, stay: they are written again. Raises ``StorageError``.
    """
    if keep is False:
        return
    write_atomically(run.rollouts / f"step-{step:06d}.safetensors", encode_rollouts(rollouts))
    if keep is not True:
        for old, shard in shards_by_step(run).items():
            if old <= step - keep:
                shard.unlink(missing_ok=True)


def read_shard(path: Path) -> list[Rollout]:
    """The rollouts of one shard. Raises ``DataError`` for a damaged shard, or one that cannot be read."""
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", source=str(path)) from None
    return decode_rollouts(blob, source=str(path))


def read_records_of_shard(path: Path) -> list[int]:
    """The number of each rollout's example in its data set, from the shard's head alone.

    Raises ``DataError`` for a damaged shard, as far as its head and its length tell, and ``FileNotFoundError``.
    """
    try:
        with safe_open(path, framework="np") as shard:
            return [int(record["record"]) for record in json.loads(shard.metadata()["records"])]
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"damaged ({one_line(error)}): its rollouts cannot be read", source=str(path)
        ) from None
