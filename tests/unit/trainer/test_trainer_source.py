"""The trainer's side of the queue, with a queue in this process in Ray's stead."""

import asyncio
import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from adaswitch.cluster.rollout_queue import RolloutQueue
from adaswitch.cluster.weight_arrays import WeightArrays, arrays_to_weights
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


class Stored:
    """A piece of weights in the object store, as a reference to it. As in the store, it is a copy."""

    def __init__(self, piece: WeightArrays) -> None:
        self.weights = arrays_to_weights(copy.deepcopy(piece))


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Handle:
    monkeypatch.setattr(trainer_source.ray, "get", lambda answer: answer)
    monkeypatch.setattr(trainer_source.ray, "put", Stored)
    monkeypatch.setattr(trainer_source.ray, "wait", lambda calls, timeout: (calls, []))
    monkeypatch.setattr(trainer_source.actors, "remove_actors", lambda config: None)
    monkeypatch.setattr(trainer_source, "SIGN_EVERY_S", 0.01)
    return Handle(RolloutQueue(10, 10.0))


def make_source(queue: Handle) -> RaySource:
    return RaySource(queue, Handle(WeightBoard()), CONFIG)


PROMPTS = [Prompt(id=0, token_ids=(1, 2), step=0)]


def test_a_queue_that_was_lost_is_filled_again(queue: Handle) -> None:
    source = make_source(queue)
    source.offer(PROMPTS)
    queue.actor = RolloutQueue(10, 10.0)
    assert source._poll([0], lambda: False) is None
    lease = queue.lease.remote("s", 1, 0.0)
    assert [prompt.id for prompt in lease.prompts] == [0]
    source.close("over")


def test_a_run_that_another_trainer_took_over_is_left_to_it(queue: Handle) -> None:
    first = make_source(queue)
    first.offer(PROMPTS)
    second = make_source(queue)
    with pytest.raises(QueueError, match="another trainer"):
        first._poll([0], lambda: False)
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
    board = WeightBoard()
    source = RaySource(queue, Handle(board), config)
    source.publish(1, {"weight": torch.tensor([1.0, 1.001])})
    published = asyncio.run(board.newest(queue.actor._attempt, 1, 1.0))
    [piece] = published.stored
    assert torch.equal(piece.weights["weight"], torch.tensor([1.0, 1.001], dtype=torch.bfloat16))
    source.close("over")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_published_stays_as_it_was_while_training_goes_on(queue: Handle, dtype: str) -> None:
    board = WeightBoard()
    source = RaySource(queue, Handle(board), load_config("configs/demo.yaml", [f"student.dtype={dtype}"]))
    weight = torch.tensor([1.0])
    source.publish(1, {"weight": weight})
    reading = asyncio.run(board.newest(queue.actor._attempt, 1, 1.0))
    weight.fill_(2.0)
    source.publish(2, {"weight": weight})
    assert [piece.weights["weight"].item() for piece in reading.stored] == [1.0]
    source.close("over")


def test_old_weights_are_let_go_once_nobody_reads_them(queue: Handle) -> None:
    board = WeightBoard()
    source = RaySource(queue, Handle(board), CONFIG)
    source.publish(0, {"weight": torch.zeros(1)})
    reading = asyncio.run(board.newest(queue.actor._attempt, 0, 1.0))
    alive = weakref.ref(reading.stored[0])
    source.publish(1, {"weight": torch.ones(1)})
    gc.collect()
    assert alive() is not None
    del reading
    gc.collect()
    assert alive() is None
    source.close("over")


def test_a_board_that_was_lost_is_filled_again_without_storing_the_weights_again(queue: Handle) -> None:
    handle = Handle(WeightBoard())
    source = RaySource(queue, handle, CONFIG)
    source.offer(PROMPTS)
    source.publish(3, {"weight": torch.ones(1)})
    attempt = queue.actor._attempt
    before = asyncio.run(handle.actor.newest(attempt, 3, 1.0))
    handle.actor = WeightBoard()
    source._poll([1], lambda: False)
    after = asyncio.run(handle.actor.newest(attempt, 3, 1.0))
    assert after.stored[0] is before.stored[0]
    source.close("over")


def test_a_stop_is_heard_while_ray_does_not_answer(queue: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Ray is lost, its calls hang for a minute, and then it ends the process, with what was not saved."""
    source = make_source(queue)
    source.offer(PROMPTS)
    asked: list[object] = []

    def never(calls: list[object], timeout: float) -> tuple[list[object], list[object]]:
        assert timeout <= 1.0
        asked.append(calls)
        return [], calls

    monkeypatch.setattr(trainer_source.ray, "wait", never)
    assert source.take(PROMPTS, lambda: len(asked) >= 3) is None
    source.close("over")
