"""Figures are reported beside the run, to its very end, and never hold it up."""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.runs.config_files import read_yaml
from adaswitch.runs.exported import Report
from trainer.__main__ import _exporting
from trainer.exporting import Exporting

OWN, QUEUE = Report("trainer", "attempt-1", ()), Report("queue", "q", ())


class PlayedBoard:
    """Keeps what is reported. ``came`` is set with every report."""

    def __init__(self, complaint: str | None = None) -> None:
        self._complaint = complaint
        self.reports: list[list[Report]] = []
        self.came = threading.Event()
        self.error: Exception | None = None
        self.held: threading.Event | None = None

    def complaint(self) -> str | None:
        return self._complaint

    def others(self) -> Sequence[Report]:
        return [QUEUE]

    def report(self, reports: Sequence[Report]) -> None:
        if self.held is not None:
            self.held.wait(60.0)
        if self.error is not None:
            raise self.error
        self.reports.append(list(reports))
        self.came.set()


def test_the_last_figures_are_reported_at_the_end() -> None:
    board, said = PlayedBoard(), list[str]()
    newest = [OWN]
    with Exporting(lambda: board, lambda: newest[0], said.append, every_s=60.0):
        assert board.came.wait(10.0)
        newest[0] = Report(
            "trainer",
            "attempt-1",
            (),
        )
        last = newest[0]
    assert board.reports[0] == [OWN, QUEUE]
    assert board.reports[-1][0] is last
    assert said == []


@pytest.mark.parametrize("error", [ValueError("broken"), ConnectionError("gone")])
def test_a_board_that_fails_is_said_once_and_ends_nothing(error: Exception) -> None:
    board, said = PlayedBoard(), list[str]()
    board.error = error
    with Exporting(lambda: board, lambda: OWN, said.append, every_s=0.0):
        pass
    [line] = said
    assert line.startswith("warning: the run goes on without Prometheus metrics: ")
    assert line.endswith(str(error))


def test_a_board_that_is_not_found_or_cannot_serve_is_said() -> None:
    def nowhere() -> PlayedBoard:
        raise OSError("no cluster")

    said = list[str]()
    with Exporting(nowhere, lambda: OWN, said.append):
        pass
    with Exporting(lambda: PlayedBoard("0.0.0.0:9464 is in use"), lambda: OWN, said.append):
        pass
    assert said == [
        "warning: the run goes on without Prometheus metrics: OSError: no cluster",
        "warning: the run goes on without Prometheus metrics: 0.0.0.0:9464 is in use",
    ]


def test_a_board_that_does_not_answer_holds_up_neither_the_run_nor_its_end() -> None:
    board = PlayedBoard()
    board.held = threading.Event()
    with Exporting(lambda: board, lambda: OWN, print, patience_s=0.05):
        pass
    assert board.reports == []
    board.held.set()


def test_an_error_of_the_run_passes_through() -> None:
    board = PlayedBoard()
    with pytest.raises(KeyError), Exporting(lambda: board, lambda: OWN, print):
        raise KeyError
    assert board.reports[-1] == [OWN, QUEUE]


@pytest.mark.parametrize("policy", [{"kind": "sft"}, {"kind": "replay", "run": "runs/earlier"}])
def test_a_run_without_students_looks_for_no_cluster(policy: dict[str, str]) -> None:
    changes = [("policy", policy), ("trainer.loss", {"kind": "cross_entropy"}), ("ray.metrics_port", 9000)]
    config = parse_config(with_overrides(read_yaml("configs/demo.yaml"), changes))
    assert isinstance(_exporting(SimpleNamespace(config=config)), nullcontext)
