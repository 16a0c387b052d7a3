"""What Prometheus reads of all runs of a cluster: nothing is lost or doubled when a part is started again."""

import socket
import urllib.request
from dataclasses import replace

import pytest
from prometheus_client import generate_latest

from adaswitch.cluster.metrics_board import KEPT_S, MetricsBoard
from adaswitch.runs.exported import FAMILIES, Report, Sample

UPDATES, STEP = "adaswitch_trainer_updates_total", "adaswitch_trainer_step"
ROLLOUTS, IN_FLIGHT = "adaswitch_student_rollouts_total", "adaswitch_student_prompts_in_flight"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> MetricsBoard:
    return MetricsBoard("127.0.0.1", 0, clock)


def values(board: MetricsBoard) -> dict[str, float]:
    """All samples by ``name{labels}``."""
    lines = generate_latest(board.registry).decode().splitlines()
    return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}


def trainer(attempt: int, num_updates: int) -> Report:
    samples = Sample(UPDATES, num_updates), Sample(STEP, num_updates)
    return Report("trainer", f"attempt-{attempt}", samples)


def student(name: str, num_rollouts: int) -> Report:
    return Report("student", name, (Sample(ROLLOUTS, num_rollouts), Sample(IN_FLIGHT, 4)))


def test_it_is_served_over_http_with_what_each_metric_is(board: MetricsBoard) -> None:
    board.report("demo", [trainer(1, 3)])
    with urllib.request.urlopen(f"http://127.0.0.1:{board.port}/metrics") as answer:
        text = answer.read().decode()
    assert f"# HELP {UPDATES} {FAMILIES[UPDATES].meaning}" in text
    assert f"# TYPE {UPDATES} counter" in text
    assert f'{UPDATES}{{run="demo",source="attempt-1"}} 3.0' in text
    assert board.complaint("127.0.0.1", 0) is None


def test_runs_are_told_apart_by_label(board: MetricsBoard) -> None:
    board.report("a", [trainer(1, 3)])
    board.report("b", [trainer(1, 5)])
    found = values(board)
    assert found[f'{UPDATES}{{run="a",source="attempt-1"}}'] == 3
    assert found[f'{UPDATES}{{run="b",source="attempt-1"}}'] == 5


def test_a_trainer_that_goes_on_takes_the_place_of_the_one_before(board: MetricsBoard) -> None:
    board.report("a", [trainer(1, 3)])
    board.report("a", [trainer(2, 2)])
    assert values(board) == {
        f'{UPDATES}{{run="a",source="attempt-2"}}': 2,
        f'{STEP}{{run="a",source="attempt-2"}}': 2,
    }


def test_a_report_that_was_overtaken_changes_nothing(board: MetricsBoard) -> None:
    board.report("a", [replace(trainer(2, 5), made_at=9.0), replace(student("s1", 5), made_at=9.0)])
    board.report("a", [replace(trainer(1, 3), made_at=8.0), replace(student("s1", 4), made_at=8.0)])
    found = values(board)
    assert found[f'{UPDATES}{{run="a",source="attempt-2"}}'] == 5
    assert found[f'{ROLLOUTS}{{run="a",source="s1"}}'] == 5
    assert f'{UPDATES}{{run="a",source="attempt-1"}}' not in found


def test_a_student_that_is_gone_leaves_its_counters_for_the_next_scrapes(
    board: MetricsBoard, clock: Clock
) -> None:
    board.report("a", [student("s1", 3)])
    clock.now_s = 2.0
    board.report("a", [student("s2", 0)])
    assert values(board) == {
        f'{ROLLOUTS}{{run="a",source="s1"}}': 3,
        f'{ROLLOUTS}{{run="a",source="s2"}}': 0,
        f'{IN_FLIGHT}{{run="a",source="s2"}}': 4,
    }
    clock.now_s = KEPT_S + 1.0
    assert f'{ROLLOUTS}{{run="a",source="s1"}}' not in values(board)
    assert values(board)[f'{ROLLOUTS}{{run="a",source="s2"}}'] == 0


def test_a_run_that_is_over_is_seen_for_a_while(board: MetricsBoard, clock: Clock) -> None:
    board.report("a", [trainer(1, 3)])
    clock.now_s = KEPT_S - 1.0
    assert values(board)[f'{STEP}{{run="a",source="attempt-1"}}'] == 3
    clock.now_s = KEPT_S + 1.0
    assert values(board) == {}


def test_a_board_that_was_lost_serves_the_same_after_the_next_report(clock: Clock) -> None:
    reports = [trainer(1, 3), student("s1", 3)]
    first, second = MetricsBoard("127.0.0.1", 0, clock), MetricsBoard("127.0.0.1", 0, clock)
    for _ in range(3):  # a report that comes again adds nothing
        first.report("a", reports)
    second.report("a", reports)
    assert values(first) == values(second)


def test_an_address_that_cannot_be_listened_on_is_said_and_breaks_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        board = MetricsBoard("127.0.0.1", port)
        assert f"127.0.0.1:{port} on the cluster's head" in (board.complaint("127.0.0.1", port) or "")
        board.report("a", [trainer(1, 3)])
        assert board.port is None
    nowhere = MetricsBoard("no-such-host.invalid", 1)
    assert "no-such-host.invalid:1" in (nowhere.complaint("no-such-host.invalid", 1) or "")


def test_a_run_that_names_another_address_is_told_so(board: MetricsBoard) -> None:
    complaint = board.complaint("127.0.0.1", 9464)
    assert complaint == "the metrics of this cluster are served at 127.0.0.1:0, and not at 127.0.0.1:9464"


def test_what_a_part_of_another_version_reports_is_left_out(board: MetricsBoard) -> None:
    odd = (Sample("adaswitch_trainer_new", 1.0), Sample("adaswitch_trainer_loss_nats", 1.0, {"of": "x"}))
    board.report("a", [Report("trainer", "attempt-1", (*odd, Sample(STEP, 2)))])
    assert values(board) == {f'{STEP}{{run="a",source="attempt-1"}}': 2}


def test_what_is_odd_in_a_label_is_escaped(board: MetricsBoard) -> None:
    labels = {"split": 'a"b\n', "metric": "\\"}
    board.report("a", [Report("trainer", "1", (Sample("adaswitch_trainer_evaluation_score", 0.5, labels),))])
    assert '"a\\"b\\n"' in generate_latest(board.registry).decode()
