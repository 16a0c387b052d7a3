"""The weight board: newest weights, waiting for a version, bytes and back."""

import asyncio

import pytest
import torch

from adaswitch.cluster.weight_blob import blob_to_weights, weights_to_blob
from adaswitch.cluster.weight_board import WeightBoard
from adaswitch.errors import StaleAttemptError


def blob(value: float):
    return weights_to_blob({"w": torch.tensor([value])})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_survive_as_bytes(dtype: torch.dtype) -> None:
    weights = {"a": torch.randn(3, 5).to(dtype), "b": torch.randn(4, 2).to(dtype).t()}
    back = blob_to_weights(weights_to_blob(weights))
    assert back.keys() == weights.keys()
    for name, tensor in weights.items():
        assert back[name].dtype == dtype
        torch.testing.assert_close(back[name], tensor, rtol=0, atol=0)


async def test_newest_waits_for_the_version_it_needs() -> None:
    board = WeightBoard(store=lambda blob: blob)
    await board.publish("a", 3, blob(3))
    waiting = asyncio.create_task(board.newest("a", 4, 60))
    await asyncio.sleep(0)
    assert not waiting.done()
    await board.publish("a", 5, blob(5))
    newest = await waiting
    assert newest.version == 5
    assert blob_to_weights(newest.stored)["w"].item() == 5


async def test_older_or_repeated_versions_change_nothing() -> None:
    board = WeightBoard(store=lambda blob: blob)
    await board.publish("a", 5, blob(5))
    await board.publish("a", 5, blob(-1))
    await board.publish("a", 4, blob(-1))
    assert blob_to_weights((await board.newest("a", 0, 1)).stored)["w"].item() == 5


async def test_a_new_attempt_replaces_the_old_one_even_with_a_lower_version() -> None:
    board = WeightBoard(store=lambda blob: blob)
    await board.publish("a", 5, blob(5))
    await board.publish("b", 2, blob(2))
    assert await board.version("b") == 2
    assert await board.version("a") is None
    with pytest.raises(StaleAttemptError):
        await board.newest("a", 0, 0.01)


async def test_a_board_that_lost_its_memory_says_so() -> None:
    board = WeightBoard(store=lambda blob: blob)
    assert await board.version("a") is None
    with pytest.raises(StaleAttemptError, match="no weights"):
        await board.newest("a", 0, 0.01)
