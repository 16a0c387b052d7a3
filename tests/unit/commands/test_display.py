"""What is said while a local run starts, trains, waits and evaluates: in a terminal and in a log file."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from adaswitch.commands.display import Display, newest_evaluation, time_left_s
from adaswitch.commands.starting import TeacherWatch, starting_words
from adaswitch.config.run import RunConfig
from adaswitch.config.trainer import TrainerConfig
from adaswitch.processes.progress import bars
from adaswitch.runs.attempts import begin_attempt
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.status import Phase
from adaswitch.runs.words import next_commands
from tests.runs import settings


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Followed:
    """In place of the processes of a run."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.starting: list[str] = []
        self.seconds_since_start = 0.0
        self.teacher_away_s = 0.0


class Shown:
    """A run of some steps of half a second, and what is shown of it."""

    def __init__(self, folder: Path, *, terminal: bool = False) -> None:
        self.config: RunConfig = settings(folder, "trainer.num_steps=40", "trainer.eval_every=20")
        attempt = begin_attempt(self.config)
        self.run, self.status = attempt.run, attempt.status
        self.followed, self.clock, self._out = Followed(self.run), Clock(), io.StringIO()
        console = Console(file=self._out, force_terminal=terminal, width=160)
        self.bars = bars(console)
        self.display = Display(self.followed, self.config, self.bars, console, self.clock)

    def step(self, step: int) -> None:
        figures = {"loss": 0.25, "switch_rate": 0.5, "step_s": 0.5, "mean_completion_tokens": 30.0}
        append_record(self.run.metrics, {"step": step, **figures})

    def evaluation(self, step: int, value: float) -> None:
        record = {"step": step, "split": "eval", "metric": "exact_match", "value": value, "n": 500}
        append_record(self.run.evals, {**record, "unmarked": 0, "eval_s": 3.0})

    def after(self, seconds: float) -> list[str]:
        """The lines that are printed at a look so many seconds later."""
        before = len(self._out.getvalue())
        self.clock.now_s += seconds
        self.display.refresh()
        return self._out.getvalue()[before:].splitlines()

    @property
    def bar(self) -> tuple[str, str]:
        """State and words of the terminal's bar."""
        (task,) = self.bars.tasks
        return task.description, task.fields["words"]


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path)


def test_a_line_has_rates_the_newest_evaluation_and_the_time_left(shown: Shown) -> None:
    shown.evaluation(0, 0.24)
    for step in range(10):
        shown.step(step)
    lines = shown.after(1.0)
    rate = 30 * shown.config.trainer.prompts_per_step / 0.5
    # 30 steps of half a second, and the evaluations after 20 and 40 steps.
    assert lines == [
        "after 0 steps: exact match 24.0% of 500",
        f"step 10/40  loss 0.250  switched 50%  0.50 s/step  {rate:,.0f} tokens/s  exact match 24.0% after 0  "
        "about 21 s left",
    ]
    shown.step(10)
    assert shown.after(1.0) == []
    shown.step(11)
    assert len(shown.after(5.0)) == 1


def test_a_log_file_has_no_control_characters(shown: Shown) -> None:
    shown.evaluation(0, 0.24)
    shown.step(0)
    assert all(line.isprintable() for line in shown.after(1.0))


def test_the_bar_names_what_starts(shown: Shown) -> None:
    shown.followed.starting, shown.followed.seconds_since_start = ["teacher", "trainer"], 14.2
    assert shown.after(1.0) == []
    assert shown.bar == ("starting teacher, trainer", "for 14 s")
    shown.followed.starting = []
    shown.status.enter(Phase.EVALUATING, 0)
    shown.after(30.0)
    assert shown.bar[0] == "evaluating"
    shown.status.enter(Phase.TRAINING, 0)
    shown.after(1.0)
    assert shown.bar == ("training", "waiting for the first step")


def test_a_wait_is_one_line_now_and_then(shown: Shown) -> None:
    shown.status.enter(Phase.TRAINING, 0)
    shown.step(0)
    shown.after(1.0)
    shown.followed.teacher_away_s = 6.0
    assert shown.after(6.0) == []
    assert shown.bar[0] == "waiting: the teacher is away for 6 s"
    shown.followed.teacher_away_s = 12.0
    assert shown.after(6.0) == ["waiting: the teacher is away for 12 s"]
    shown.followed.teacher_away_s = 18.0
    assert shown.after(6.0) == []
    shown.followed.teacher_away_s = 43.0
    assert shown.after(25.0) == ["waiting: the teacher is away for 43 s"]
    shown.followed.teacher_away_s = 0.0
    assert shown.after(30.0) == ["waiting for rollouts for 73 s"]
    shown.step(1)
    assert [line.partition("  ")[0] for line in shown.after(1.0)] == ["step 2/40"]
    assert shown.bar[0] == "training"


def test_a_step_that_usually_takes_long_is_no_wait(shown: Shown) -> None:
    record = {"loss": 0.25, "switch_rate": 0.5, "step_s": 60.0}
    append_record(shown.run.metrics, {"step": 0, **record})
    shown.after(1.0)
    assert shown.after(100.0) == []
    assert shown.after(80.0) == ["waiting for rollouts for 3 min"]


def test_a_terminal_gets_no_lines_of_steps(tmp_path: Path) -> None:
    shown = Shown(tmp_path, terminal=True)
    shown.step(0)
    assert not any("step 1/40" in line for line in shown.after(10.0))
    assert shown.bar[1].startswith("loss 0.250")


def test_the_time_left_heeds_the_time_limit() -> None:
    steps = [{"step": step, "step_s": 2.0} for step in range(10)]
    assert time_left_s([], [], TrainerConfig(num_steps=40)) is None
    assert time_left_s(steps, [], TrainerConfig(num_steps=40, eval_every=0)) == 60.0
    assert time_left_s(steps, [], TrainerConfig(num_steps=40, eval_every=0, time_limit_s=30)) == 10.0
    evals = [{"step": 0, "eval_s": 5.0}]
    # After 16, 32 and 40 steps.
    assert time_left_s(steps, evals, TrainerConfig(num_steps=40, eval_every=16)) == 75.0


def test_the_newest_evaluation_is_that_of_all_prompts() -> None:
    record = {"metric": "rouge_l", "value": 0.5, "step": 4}
    evals = [{**record, "split": "eval", "value": 0.1, "step": 2}]
    evals += [{**record, "split": "long"}, {**record, "split": "all", "value": 0.3}]
    assert newest_evaluation(evals) == "rouge l 30.0% after 4"
    assert newest_evaluation([{**record, "split": "eval", "value": None}]) == "rouge l - after 4"


def test_a_teacher_is_away_once_it_has_missed_two_questions() -> None:
    clock, answers = Clock(), [True, False, False, False, True]
    watch = TeacherWatch(lambda: answers.pop(0), clock)
    away = []
    for _ in range(5):
        watch.look()
        watch.look()  # just asked
        away.append(watch.away_s)
        clock.now_s += 4.0
    assert away == [0.0, 0.0, 8.0, 12.0, 0.0]


def test_the_words_on_a_start_say_how_long_it_takes_and_where_the_log_is() -> None:
    words = starting_words("teacher", "models/x on vllm, port 8000", Path("runs/a/teacher.log"), "vllm")
    assert words == (
        "teacher: models/x on vllm, port 8000; usually ready in 20 to 70 s; log: runs/a/teacher.log"
    )
    assert "10 to 30 s" in starting_words("students", "2 on transformers", Path("x"), "transformers")


def test_three_commands_to_go_on_with(tmp_path: Path) -> None:
    page, chat, export = next_commands(settings(tmp_path))
    assert page.endswith(f"adaswitch page {tmp_path}/run")
    assert f"adaswitch chat {tmp_path}/run" in chat
    assert export.endswith(f"adaswitch export {tmp_path}/run --to run-model")
