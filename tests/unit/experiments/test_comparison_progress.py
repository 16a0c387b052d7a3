"""How far a comparison is: on a terminal, in a log file, and in the file of its folder."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from adaswitch.runs.attempts import begin_attempt
from adaswitch.runs.directory import append_record
from adaswitch.runs.status import Phase
from experiments.plan import Plan, cells, keep_plan
from experiments.progress import PROGRESS_FILE, ComparisonProgress, share_done
from experiments.screen import print_tables
from experiments.work import Training, Work, all_work
from tests.comparison import PLAN, looked_at


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def work(tmp_path: Path) -> list[Work]:
    """Four trainings and four evaluations, of which nothing is done."""
    few = {"trainer.num_steps": 10}
    plan = Plan.model_validate(
        {**PLAN, "runs_dir": str(tmp_path), "evaluations": {"greedy": {}}, "settings": few}
    )
    keep_plan(plan)
    return all_work(plan, cells(plan), "transformers")


def train(item: Work, step: int) -> None:
    """Let a cell have done so many of its steps."""
    assert isinstance(item, Training)
    begin_attempt(item._config).status.enter(Phase.TRAINING, step)


def finish(item: Work) -> None:
    item.result.parent.mkdir(parents=True, exist_ok=True)
    item.result.write_text(json.dumps({}))


def test_done_running_left_and_the_time_left_are_said_and_kept(work: list[Work], tmp_path: Path) -> None:
    out, clock = io.StringIO(), Clock()
    progress = ComparisonProgress(work, 2, tmp_path / "two", Console(file=out), clock)
    with progress:
        progress.show(0, work[:2])
        assert out.getvalue().splitlines() == [
            "0 of 8 done, 2 running, 6 left; running: adaswitch-seed3 (0%); running: off_policy-seed3 (0%)"
        ]
        train(work[0], 5)
        train(work[1], 5)
        clock.now_s = 50.0
        progress.show(0, work[:2])
        # A training takes 100 s: two halves and two whole ones by two at once, and of evaluations nothing is known.
        assert "6 left, more than 2 min left" in out.getvalue()
        finish(work[0])
        clock.now_s = 110.0
        progress.show(1, work[1:3])
        assert "done: adaswitch-seed3, 2 min\n1 of 8 done, 2 running, 5 left" in out.getvalue()
        kept = (tmp_path / "two" / PROGRESS_FILE).read_text()
        assert "  1 of 8 done, 2 running, 5 left, more than " in kept
        assert "running: off_policy-seed3 (50%)" in kept
        for item in work:
            finish(item)
        # A piece that has come to its end is still among those that run, and counts once.
        progress.show(6, work[6:])
        assert "6 of 8 done, 2 running, 0 left" in out.getvalue()
    assert "8 of 8 done, nothing is running, 0 left" in (tmp_path / "two" / PROGRESS_FILE).read_text()
    assert all(line.isprintable() for line in out.getvalue().splitlines())


def test_nothing_is_said_while_nothing_changes(work: list[Work], tmp_path: Path) -> None:
    out, clock = io.StringIO(), Clock()
    with ComparisonProgress(work, 1, tmp_path / "two", Console(file=out), clock) as progress:
        for _ in range(10):
            progress.show(0, work[:1])
            clock.now_s += 1.0
        assert len(out.getvalue().splitlines()) == 1


def test_a_terminal_gets_a_bar_for_all_and_one_for_each_that_runs(work: list[Work], tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=150)
    with ComparisonProgress(work, 1, tmp_path / "two", console) as progress:
        progress.show(0, work[:1])
    assert "adaswitch-seed3" in out.getvalue()
    assert "0/8" in out.getvalue()


def test_a_file_that_cannot_be_written_ends_nothing(work: list[Work], tmp_path: Path) -> None:
    out = io.StringIO()
    with ComparisonProgress(work, 1, tmp_path / "gone", Console(file=out)) as progress:
        progress.show(0, work[:1])
    assert out.getvalue().count("note: ") == 1


def test_with_a_time_limit_the_seconds_of_steps_count(tmp_path: Path) -> None:
    few = {"trainer.num_steps": 1000, "trainer.time_limit_s": 10}
    plan = Plan.model_validate({**PLAN, "runs_dir": str(tmp_path), "settings": few})
    item = Training(cells(plan)[0], "transformers")
    assert share_done(item) == 0.0
    attempt = begin_attempt(item._config)
    append_record(attempt.run.metrics, {"step": 0, "step_s": 4.0})
    assert share_done(item) == pytest.approx(0.4)
    attempt.run.metrics.write_text("{\n{}\n")
    assert share_done(item) == 0.0


def test_the_tables_are_printed_at_the_end(tmp_path: Path) -> None:
    from experiments.page.content import comparison_parts
    from experiments.plan import load_plan
    from experiments.results import read_results
    from experiments.tables import as_json

    folder = looked_at(tmp_path)
    plan = load_plan(folder / "plan.yaml")
    out = io.StringIO()
    print_tables(as_json(read_results(plan, cells(plan)), ""), Console(file=out))
    assert "After the last step:" in out.getvalue()
    assert "off_policy  0.580 ± 0.254  +0.100 ± 0.000" in out.getvalue()
    assert comparison_parts(folder)["figures"]["meaning"] in out.getvalue()
