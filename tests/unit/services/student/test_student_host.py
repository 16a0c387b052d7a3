"""Students for whatever runs there are, on a cluster that is a dictionary."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest

from adaswitch.cluster.rollout_queue import OpenRun, RolloutQueue
from adaswitch.errors import ModelError
from services.student.host import StudentHost

WAIT_S = 10.0


class FakeRuns:
    """``opened`` by name; ``serve`` lasts until ``finish`` has the name, or until it is told to stop."""

    def __init__(self) -> None:
        self.opened: dict[str, OpenRun] = {}
        self.finish: dict[str, str | Exception] = {}
        self.served: list[tuple[str, str]] = []
        self.changed = threading.Condition()

    def open(self) -> Iterator[tuple[str, OpenRun]]:
        yield from self.opened.items()

    def serve(self, name: str, run: OpenRun, should_stop: Callable[[], bool]) -> str:
        with self.changed:
            self.served.append((name, run.settings))
            self.changed.notify_all()
            # A flag is looked at and not waited for, as in the service.
            while not (name in self.finish or should_stop()):
                self.changed.wait(0.01)
            if should_stop():
                return "stopped"
            result = self.finish.pop(name)
        if isinstance(result, Exception):
            raise result
        return result


class World:
    def __init__(self) -> None:
        self.runs = FakeRuns()
        self.lines: list[str] = []
        self.host = StudentHost(self.runs, self.lines.append)

    def open(self, name: str, attempt: str = "a", settings: str = "{}") -> None:
        self.runs.opened[name] = OpenRun(attempt, settings)
        self.host.look()

    def finish(self, name: str, result: str | Exception) -> None:
        """``name`` is over, and the host has noted it."""
        del self.runs.opened[name]
        self.runs.finish[name] = result
        self.look_until_ended(name)

    def look_until_ended(self, name: str) -> None:
        serving = self.host._serving[name]
        serving.result.exception(WAIT_S)
        self.host.look()

    def wait_served(self, number: int) -> list[tuple[str, str]]:
        with self.runs.changed:
            assert self.runs.changed.wait_for(lambda: len(self.runs.served) >= number, WAIT_S)
        return self.runs.served


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.host.close()


def test_runs_are_served_side_by_side_each_once(world: World) -> None:
    world.open("one")
    world.open("two")
    world.host.look()
    assert sorted(world.wait_served(2)) == [("one", "{}"), ("two", "{}")]
    world.finish("one", "the run is over")
    world.host.look()
    assert world.lines == ["one: rolling out", "two: rolling out", "one: the run is over"]


def test_an_attempt_that_ended_is_not_begun_again_and_the_next_one_is(world: World) -> None:
    world.open("one")
    world.runs.finish["one"] = ModelError("no such model")
    world.look_until_ended("one")
    world.host.look()
    assert world.lines == ["one: rolling out", "one: error: no such model"]
    world.open("one", attempt="b")
    assert len(world.wait_served(2)) == 2


def test_a_trainer_that_is_started_again_keeps_its_students(world: World) -> None:
    world.open("one")
    world.open("one", attempt="b")
    world.host.look()
    assert world.wait_served(1) == [("one", "{}")]
    assert world.lines == ["one: rolling out"]


def test_other_settings_get_other_students(world: World) -> None:
    world.open("one")
    world.wait_served(1)
    world.open("one", attempt="b", settings='{"seed": 1}')
    world.look_until_ended("one")
    assert world.wait_served(2) == [("one", "{}"), ("one", '{"seed": 1}')]
    assert world.lines == ["one: rolling out", "one: stopped", "one: rolling out"]


def test_what_no_run_is_to_blame_for_is_raised(world: World) -> None:
    world.open("one")
    with pytest.raises(ZeroDivisionError):
        world.finish("one", ZeroDivisionError())


def test_closing_ends_all(world: World) -> None:
    world.open("one")
    world.open("two")
    world.host.close()
    assert sorted(world.lines[2:]) == ["one: stopped", "two: stopped"]


async def test_a_queue_says_what_is_wanted_from_the_beginning_to_the_end_of_a_run() -> None:
    queue = RolloutQueue(10, 10.0)
    assert await queue.open_run() is None
    settings = json.dumps({"name": "one"})
    await queue.begin("a", settings)
    assert await queue.open_run() == OpenRun("a", settings)
    await queue.close("a", "the run is complete")
    assert await queue.open_run() is None
    await queue.begin("b", "{}")
    assert await queue.open_run() == OpenRun("b", "{}")
