"""The weight board: newest weights, and waiting for a version."""

import asyncio

import pytest

from adaswitch.cluster.weight_board import PublishedWeights, WeightBoard
from adaswitch.errors import StaleAttemptError


async def test_newest_waits_for_the_version_it_needs() -> None:
    board = WeightBoard()
    await board.publish(PublishedWeights("a", 3, "three"))
    waiting = asyncio.create_task(board.newest("a", 4, 60))
    await asyncio.sleep(0)
    assert not waiting.done()
    await board.publish(PublishedWeights("a", 5, "five"))
    assert await waiting == PublishedWeights("a", 5, "five")


async def test_older_or_repeated_versions_change_nothing() -> None:
    board = WeightBoard()
    await board.publish(PublishedWeights("a", 5, "five"))
    await board.publish(PublishedWeights("a", 5, "again"))
    await board.publish(PublishedWeights("a", 4, "older"))
    assert (await board.newest("a", 0, 1)).stored == "five"


async def test_a_new_attempt_replaces_the_old_one_even_with_a_lower_version() -> None:
    board = WeightBoard()
    await board.publish(PublishedWeights("a", 5, "five"))
    await board.publish(PublishedWeights("b", 2, "two"))
    assert await board.version("b") == 2
    assert await board.version("a") is None
    with pytest.raises(StaleAttemptError):
        await board.newest("a", 0, 0.01)


async def test_a_board_that_lost_its_memory_says_so() -> None:
    board = WeightBoard()
    assert await board.version("a") is None
    with pytest.raises(StaleAttemptError, match="no weights"):
        await board.newest("a", 0, 0.01)
