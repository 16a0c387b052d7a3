"""A local run as it is followed: evaluations as lines, and at its end the figures and the health of its switch."""

from pathlib import Path

import pytest

from adaswitch.commands import progress
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.summary import EVAL_FIELDS, PHASE_NAMES, ROLLOUT_NAMES, TOKEN_NAMES

NUM_STEPS = 12
TOKENS = 1
"""The tokens of each kind in a step."""


def write_run(run: RunDirectory, switch_rate: float) -> None:
    """What a trainer leaves: two evaluations with two prompts that could not be marked, and some steps."""
    names = ("loss", "step_s", *TOKEN_NAMES, *PHASE_NAMES, *ROLLOUT_NAMES)
    for step in (0, NUM_STEPS):
        values = (step, "eval", "half", 1.0, 11, 2, 0.5)
        hints = {"hints": ["half is 0.0%: 'a' was compared with 'b'"]} if step == 0 else {}
        append_record(run.evals, dict(zip(EVAL_FIELDS, values, strict=True)) | hints)
    for step in range(NUM_STEPS):
        figures = dict.fromkeys(names, 1.0) | dict.fromkeys(TOKEN_NAMES, TOKENS)
        switching = {"switch_rate": switch_rate, "mean_switch_position": 3.0, "mean_completion_tokens": 36.0}
        switching["late_switch_rate"] = 0.3 if switch_rate == 1 else 0.1
        append_record(run.metrics, {"step": step, **figures, **switching})


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What is printed while a run with the given share of switches is followed."""
    monkeypatch.setenv("COLUMNS", "200")

    def follow(switch_rate: float, *overrides: str) -> str:
        class FinishedRun:
            """In place of teacher, Ray, students and trainer."""

            starting, seconds_since_start, teacher_away_s = (), 0.0, 0.0

            def __init__(self, config, say, command):
                self.run, self.seconds = RunDirectory.create(config), {"teacher": 1.0}

            def execute(self, should_stop, on_poll):
                write_run(self.run, switch_rate)
                on_poll()
                return True

        monkeypatch.setattr(progress, "LocalRun", FinishedRun)
        config = load_config("configs/demo.yaml", [f"runs_dir={tmp_path}", *overrides])
        assert progress.follow_local_run(config, lambda: False)
        return capsys.readouterr().out

    return follow


def test_how_much_could_not_be_marked_is_said(followed, tmp_path: Path) -> None:
    text = followed(0.5)
    assert f"after {NUM_STEPS} steps: half 100.0% of 11 (2 unmarked)" in text
    assert "half on 11 held-out prompts (2 unmarked)" in text
    assert f"adaswitch page {tmp_path}/demo\n" in text
    assert "1.00 s/step" in text
    assert text.count("note: half is 0.0%: 'a' was compared with 'b'\n") == 1
    assert "switching" not in text
    assert "\nWhat came of it\n" in text
    assert "The teacher took over in 50% of the texts, in the mean at token 3 of 36.\n" in text
    assert "Nothing is to be put right.\n" in text


def test_what_is_wrong_with_the_switch_is_said_at_the_end(followed) -> None:
    text = followed(1.0)
    assert "excessive switching\n  100% of the rollouts switch, in the mean at token 3 of 36; 30% of" in text
    assert "To be looked at: excessive switching. What to try stands beside each.\n" in text


def test_a_policy_that_cannot_switch_says_nothing_of_switching_in_its_bar(followed) -> None:
    fine_tuning = ("policy={kind: sft}", "trainer.loss={kind: cross_entropy}")
    assert f"step {NUM_STEPS}/200  loss 1.000  switched 50%  1.00 s/step" in followed(0.5)
    assert f"step {NUM_STEPS}/200  loss 1.000  1.00 s/step" in followed(1.0, *fine_tuning)


def test_a_run_without_student_and_teacher_has_no_tables_of_their_work(followed, monkeypatch) -> None:
    assert "written by the teacher" in followed(0.5)
    monkeypatch.setitem(globals(), "TOKENS", 0)
    text = followed(1.0, "name=alone", "policy={kind: sft}", "trainer.loss={kind: cross_entropy}")
    assert "loss, nats a token" in text
    assert "waiting for rollouts" in text
    for words in ("rollouts that switched", "written by the teacher", "a rollout: "):
        assert words not in text
