"""What people see of a run: rollouts in colour, and the figures at its end."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from adaswitch.commands.cli import app
from adaswitch.commands.inspect import MAX_ROWS, rollout_panel, show_rollouts
from adaswitch.commands.launch import unused_name
from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.errors import DataError
from adaswitch.method.distribution import top_k
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.runs.directory import RunDirectory, append_record, read_records
from adaswitch.runs.shards import save_rollouts
from adaswitch.runs.summary import STEP_FIELDS, print_summary, summarise

V = 19


def config(folder: Path) -> RunConfig:
    return parse_config(
        {
            "name": "run",
            "runs_dir": str(folder),
            "task": {"kind": "chain"},
            "teacher": {},
            "student": {"model": "models/chain-student"},
        }
    )


def rollout(prompt_id: int, num_tokens: int = 5, switch: int | None = 2) -> Rollout:
    watched = num_tokens if switch is None else switch + 1
    thresholds = [float("inf")] * watched
    if switch is not None:
        thresholds[switch] = 0.25
    return Rollout(
        prompt=Prompt(prompt_id, (1, 6, 13, 8), step=3),
        completion_token_ids=tuple([7] * num_tokens),
        by_teacher=np.arange(num_tokens) >= (num_tokens if switch is None else switch),
        teacher=top_k(torch.zeros(num_tokens, V).log_softmax(-1), 4),
        divergences=tuple([0.125] * (watched - 1) + [0.5]),
        thresholds=tuple(thresholds),
        ending=Ending.LENGTH,
        weights_version=3,
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory.create(config(tmp_path))
    save_rollouts(directory, 2, [rollout(8, switch=None), rollout(9, switch=None)])
    save_rollouts(directory, 3, [rollout(12), rollout(13, switch=None)])
    return directory


def shown(run: RunDirectory, step: int | None = None, num: int = 9, switched: bool = False) -> str:
    console = Console(file=StringIO(), width=120)
    show_rollouts(run.path, step, num, switched, console)
    return console.file.getvalue()


def test_the_switch_the_divergences_and_the_thresholds_are_shown(run: RunDirectory) -> None:
    text = shown(run)
    assert "step-000003" in text
    assert "─ prompt 12 ─" in text
    assert "5 tokens · switched at token 2 · weights 3 · ended by length" in text
    assert "─ prompt 13 ─" in text
    assert "5 tokens · never switched" in text
    assert "3+5 44▸444" in text
    assert "0.125" in text
    assert "0.250" in text
    assert "▸ switch" in text


def test_step_number_and_filter(run: RunDirectory) -> None:
    assert "prompt 8" in shown(run, step=2)
    assert "prompt 13" not in shown(run, num=1)
    assert "prompt 13" not in shown(run, switched=True)
    with pytest.raises(DataError, match="no rollout of this step switched"):
        shown(run, step=2, switched=True)
    with pytest.raises(DataError, match="no rollouts of step 7; there are steps 2 to 3"):
        shown(run, step=7)


def test_a_folder_that_is_no_run_and_a_run_without_rollouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run directory"):
        show_rollouts(tmp_path, None, 1, False, Console(file=StringIO()))
    empty = RunDirectory.create(config(tmp_path))
    with pytest.raises(DataError, match="no rollouts are kept"):
        shown(empty)


def test_colours_tell_who_wrote_what() -> None:
    console = Console(file=StringIO(), width=100, force_terminal=True, color_system="standard")
    console.print(rollout_panel(rollout(0), lambda ids: "x" * len(ids)))
    text = console.file.getvalue()
    assert "\x1b[36mxx" in text  # the student's, cyan
    assert "\x1b[32mxxx" in text  # the teacher's, green
    assert "\x1b[1;30;43m" in text  # the switch


def test_long_rollouts_are_cut_with_a_note() -> None:
    console = Console(file=StringIO(), width=100)
    console.print(rollout_panel(rollout(0, num_tokens=MAX_ROWS + 5, switch=None), lambda ids: "x"))
    assert "5 more" in console.file.getvalue()


def test_the_summary_compares_first_and_last(run: RunDirectory) -> None:
    assert summarise(run) is None
    for step, (loss, rate, position) in enumerate([(1.0, 1.0, 4.0), (0.5, 0.5, 6.0), (0.25, 0.0, None)]):
        append_record(
            run.metrics,
            {
                "step": step,
                "loss": loss,
                "switch_rate": rate,
                "mean_switch_position": position,
                "student_tokens": 100,
                "teacher_tokens": 10,
                "scored_tokens": 100,
                "wasted_tokens": 5,
                "wait_s": 2.0,
                "update_s": 1.0,
                "publish_s": 0.5,
                "write_s": 0.1,
                "score_s": 0.2,
                "generate_s": 0.3,
            },
        )
    for step, value, longer in ((0, 0.2, None), (2, 0.4, 0.1), (3, 0.6, 0.3)):
        for split, share in (("eval", value), ("longer", longer)):
            append_record(
                run.evals,
                {
                    "step": step,
                    "split": split,
                    "metric": "exact_match",
                    "value": share,
                    "n": 50,
                    # Records of older runs do not say it.
                    **({"unmarked": 2 * step} if split == "longer" else {}),
                    "eval_s": 1.0,
                },
            )
    summary = summarise(run)
    assert summary is not None
    assert summary.loss == (1.0, 0.25)
    assert summary.switch_rate == (1.0, 0.0)
    assert summary.switch_position == (4.0, None)
    assert summary.tokens["student_tokens"] == 300
    assert summary.seconds == {"wait_s": 6.0, "update_s": 3.0, "publish_s": 1.5, "eval_s": 3.0}
    console = Console(file=StringIO(), width=100)
    print_summary(run, summary, {"teacher": 12.0}, console)
    text = console.file.getvalue()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "exact match on 50 held-out prompts 20.0% 60.0%" in lines
    assert "exact match on 50 prompts: longer (unmarked: 0 before, 6 after) - 30.0%" in lines
    for words in ("teacher getting ready", "12.0", str(run.path)[:40]):
        assert words in text


STEP = dict.fromkeys(STEP_FIELDS, 1.0)
EVAL = {"step": 0, "split": "eval", "metric": "half", "value": 0.5, "n": 2, "unmarked": 0, "eval_s": 1.0}


@pytest.mark.parametrize(
    ("file", "record", "complaint"),
    [
        (
            "metrics",
            {"step": 0},
            'no field "loss", where a number is expected: the file is damaged; remove the line',
        ),
        ("metrics", STEP | {"switch_rate": "x"}, "field \"switch_rate\" is 'x', where a number is expected"),
        ("metrics", STEP | {"wait_s": None}, 'field "wait_s" is None, where a number'),
        ("metrics", STEP | {"loss": True}, 'field "loss" is True, where a number'),
        ("metrics", STEP | {"student_tokens": 10**400}, 'field "student_tokens" is 1000'),
        (
            "metrics",
            STEP | {"mean_switch_position": []},
            'field "mean_switch_position" is [], where a number or null',
        ),
        ("evals", {"step": 0}, 'no field "split", where a string'),
        ("evals", EVAL | {"metric": 3}, 'field "metric" is 3'),
        ("evals", EVAL | {"unmarked": "x"}, "field \"unmarked\" is 'x'"),
    ],
)
def test_a_record_that_is_none_is_named_by_file_line_and_field(run, file, record, complaint) -> None:
    path = getattr(run, file)
    append_record(run.metrics, STEP)
    append_record(run.evals, EVAL)
    append_record(path, record)
    with pytest.raises(DataError) as caught:
        summarise(run)
    assert f"{path}, line 2: {complaint}" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"loss": "\xff"}', "line 2: not UTF-8 text"),
        (b'{"loss": ', "line 2: not valid JSON: Expecting value"),
        (b"[1]", "line 2: a JSON object is expected, not list"),
        (b'{"loss": NaN}', 'line 2: field "loss" is nan'),
        (b"[" * 100_000, "line 2: not valid JSON: nested too deeply"),
    ],
)
def test_a_damaged_line_is_named(run, line, complaint) -> None:
    append_record(run.metrics, STEP)
    with run.metrics.open("ab") as file:
        file.write(line + b"\n")
    for arguments in (["report", str(run.path)], ["doctor", str(run.path)]):
        if b"NaN" not in line or arguments[0] == "report":
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 2
            assert f"error: {run.metrics}, {complaint}" in result.stderr


def test_a_line_ends_where_json_ends_it(run) -> None:
    run.evals.write_text(json.dumps({"text": "a\u2028b\x85c"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert list(read_records(run.evals)) == [{"text": "a\u2028b\x85c"}]


def test_a_name_in_brackets_is_shown_as_it_is(run) -> None:
    append_record(run.metrics, STEP)
    append_record(run.evals, EVAL | {"split": "[/odd]"})
    console = Console(file=StringIO(), width=100)
    print_summary(run, summarise(run), {}, console)
    assert "half on 2 prompts: [/odd]" in console.file.getvalue()


def test_a_new_name_for_every_demo(tmp_path: Path) -> None:
    settings = config(tmp_path)
    assert unused_name(settings) == "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert unused_name(settings) == "run-3"


def test_a_pen_that_comes_back_is_shown_at_every_handover() -> None:
    handed = replace(rollout(1, num_tokens=6), by_teacher=np.array([0, 1, 0, 0, 1, 1], dtype=np.bool_))
    screen = Console(record=True, width=100)
    screen.print(rollout_panel(handed, lambda ids: "p" if len(ids) == 4 else "x" * len(ids)))
    assert "p x▸xxx▸xx" in screen.export_text()
