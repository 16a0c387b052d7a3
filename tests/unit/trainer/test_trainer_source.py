"""The trainer's side of the queue, with a queue in this process in Ray's stead."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from adaswitch.cluster.rollout_queue import RolloutQueue
from adaswitch.cluster.weight_blob import blob_to_weights
from adaswitch.cluster.weight_board import WeightBoard
from adaswitch.config.run import RunConfig
from adaswitch.errors import QueueClosedError, QueueError
from adaswitch.method.prompt import Prompt
from adaswitch.runs.config_files import load_config
from trainer import source as trainer_source
from trainer.source import RaySource

CONFIG: RunConfig = load_config("configs/demo.yaml")


class Handle:
    """``handle.method.remote(...)`` calls at once. ``called`` has the names, and wakes who waits for one."""

    def __init__(self, actor: object) -> None:
        self.actor = actor
        self.called: list[str] = []
        self.changed = threading.Condition()

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self.actor, name)

        class Method:
            @classmethod
            def options(cls, **_: object) -> Any:
                return cls

            @staticmethod
            def remote(*arguments: object) -> Any:
                result = asyncio.run(method(*arguments))
                with self.changed:
                    self.called.append(name)
                    self.changed.notify_all()
                return result

        return Method


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Handle:
    monkeypatch.setattr(trainer_source.ray, "get", lambda answer: answer)
    monkeypatch.setattr(trainer_source.actors, "remove_actors", lambda config: None)
    monkeypatch.setattr(trainer_source, "SIGN_EVERY_S", 0.01)
    return Handle(RolloutQueue(10, 10.0))


def make_source(queue: Handle) -> RaySource:
    return RaySource(queue, Handle(WeightBoard(lambda blob: blob)), CONFIG)


PROMPTS = [Prompt(id=0, token_ids=(1, 2), step=0)]


def test_a_queue_that_was_lost_is_filled_again(queue: Handle) -> None:
    source = make_source(queue)
    source.offer(PROMPTS)
    queue.actor = RolloutQueue(10, 10.0)
    assert source._poll([0]) is None
    lease = queue.lease.remote("s", 1, 0.0)
    assert [prompt.id for prompt in lease.prompts] == [0]
    source.close("over")


def test_a_run_that_another_trainer_took_over_is_left_to_it(queue: Handle) -> None:
    first = make_source(queue)
    first.offer(PROMPTS)
    second = make_source(queue)
    with pytest.raises(QueueError, match="another trainer"):
        first._poll([0])
    first.close("failed")
    assert queue.open_run.remote() is not None
    second.close("complete")
    with pytest.raises(QueueClosedError, match="complete"):
        queue.lease.remote("s", 1, 0.0)


def test_the_run_is_found_by_its_settings_and_kept_open_by_signs_of_life(queue: Handle) -> None:
    source = make_source(queue)
    assert queue.open_run.remote().settings == CONFIG.model_dump_json()
    with queue.changed:
        assert queue.changed.wait_for(lambda: queue.called.count("trainer_heard") >= 2, 10.0)
    source.close("over")


def test_weights_travel_in_the_students_own_number_type(queue: Handle) -> None:
    config = load_config("configs/demo.yaml", ["student.dtype=bfloat16"])
    board = WeightBoard(lambda blob: blob)
    source = RaySource(queue, Handle(board), config)
    source.publish(1, {"weight": torch.tensor([1.0, 1.001])})
    published = asyncio.run(board.newest(queue.actor._attempt, 1, 1.0))
    assert torch.equal(
        blob_to_weights(published.stored)["weight"], torch.tensor([1.0, 1.001], dtype=torch.bfloat16)
    )
    source.close("over")
