"""A tracker that fails, or is slow, is said once, and neither stops nor slows who feeds it."""

import errno
import threading
import time
from pathlib import Path

import pytest

from tests.tracking import Told, place
from trainer.trackers.base import Place, flat
from trainer.trackers.feed import Feed

SOON_S = 30.0


def soon() -> float:
    return time.monotonic() + SOON_S


def test_calls_are_made_in_their_order_and_the_end_comes_last(tmp_path: Path) -> None:
    told, said = Told(), list[str]()
    feed = Feed("told", place(tmp_path), lambda _: told, said.append)
    for step in range(3):
        feed.send(lambda tracker, step=step: tracker.scalars({"a": 1.0}, step))
    feed.end(complete=True)
    feed.wait(soon())
    assert told.calls == [*[("scalars", {"a": 1.0}, step) for step in range(3)], ("close", True)]
    assert said == []


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ValueError("no such project\nand more"), "ValueError: no such project"),
        (SystemExit(1), "SystemExit: 1"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    ],
)
def test_a_failure_is_said_once_and_ends_this_tracker_alone(
    tmp_path: Path, error: BaseException, why: str
) -> None:
    told, said = Told(), list[str]()

    def fail(tracker: object) -> None:
        raise error

    feed = Feed("told", place(tmp_path), lambda _: told, said.append)
    feed.send(fail)
    for _ in range(3):
        feed.send(fail)
    feed.end(complete=False)
    feed.wait(soon())
    assert len(said) == 1
    assert said[0].startswith("warning: told gets no more of this run, which goes on: ")
    assert why in said[0]
    assert told.calls == []


def test_a_tracker_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    said = list[str]()

    def make(_: Place) -> Told:
        raise RuntimeError("nobody is signed in")

    feed = Feed("told", place(tmp_path), make, said.append)
    feed.send(lambda tracker: tracker.model(tmp_path))
    feed.end(complete=True)
    feed.wait(soon())
    assert said == [
        "warning: told gets no more of this run, which goes on: RuntimeError: nobody is signed in"
    ]


def test_who_feeds_a_slow_tracker_never_waits_and_it_is_said_once(tmp_path: Path) -> None:
    told, said, go_on, begun = Told(), list[str](), threading.Event(), threading.Event()

    def slow(tracker: object) -> None:
        begun.set()
        go_on.wait(SOON_S)

    feed = Feed("told", place(tmp_path), lambda _: told, said.append, capacity=4)
    feed.send(slow)
    begun.wait(SOON_S)
    for step in range(20):
        feed.send(lambda tracker, step=step: tracker.scalars({"a": 1.0}, step))
    assert said == ["warning: told is slow: what it has no time for is left out there"]
    feed.end(complete=True)
    feed.wait(time.monotonic())
    assert said[1:] == ["warning: told did not take everything in time: the rest is left out there"]
    go_on.set()
    feed.wait(soon())
    # The end is told all the same, after what was waiting longest but for it.
    assert told.calls[-1] == ("close", True)
    assert len(said) == 2


def test_settings_have_their_whole_paths() -> None:
    document = {"a": {"b": 1, "c": {"d": True}}, "e": [1, "x"], "f": None, "g": "text"}
    assert flat(document) == {"a.b": 1, "a.c.d": True, "e": '[1, "x"]', "g": "text"}


def test_what_a_tracker_calls_the_run_is_kept_in_the_run_directory(tmp_path: Path) -> None:
    assert place(tmp_path).identity("wandb") is None
    place(tmp_path).keep_identity("wandb", "run-1")
    assert place(tmp_path, start=5).identity("wandb") == "run-1"
    assert place(tmp_path).identity("mlflow") is None
