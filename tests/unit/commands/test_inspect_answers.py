"""``inspect`` reads all that it needs from the run, marks answers with their references, and fits 80 columns."""

import errno
import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from transformers import AutoConfig, PreTrainedConfig

from adaswitch.commands.inspect import MAX_REFERENCE_CHARACTERS, rollout_panel, show_rollouts
from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.data.datasets import encode_prompt, load_examples
from adaswitch.data.models import load_tokenizer
from adaswitch.errors import ModelError, StorageError
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.runs.answers import AnswerMarker
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.kept import keep_tokenizer, load_kept_tokenizer, tokenizer_folder
from adaswitch.runs.shards import save_rollouts
from tests.fakes import random_rollout

RECORDS = [("1+2=", "1+2=3;#3"), ("5+5=", "5+5=0;#0"), ("2*2=", "2*2=4;#4")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a student, data and settings that name both relative to it, in which a run was begun."""
    root = tmp_path / "project"
    root.mkdir()
    shutil.copytree("models/chain-student", root / "student")
    lines = [json.dumps({"prompt": prompt, "reference": reference}) for prompt, reference in RECORDS]
    (root / "train.jsonl").write_text("\n".join(lines))
    monkeypatch.chdir(root)
    return root


def settings(**task: object) -> RunConfig:
    return parse_config(
        {
            "name": "run",
            "task": {"kind": "jsonl", "train": {"path": "train.jsonl"}, "answer_regex": r"#(\d)", **task},
            "teacher": {},
            "student": {"model": "student", "max_new_tokens": 8},
        }
    )


def model_config() -> PreTrainedConfig:
    config: PreTrainedConfig = AutoConfig.from_pretrained("student")
    return config


def answered(config: RunConfig, record: int, text: str, ending: Ending = Ending.STOP) -> Rollout:
    """A rollout of the data's ``record``, counted from 1, whose completion says ``text``."""
    tokenizer = load_tokenizer(config.student.model)
    task = config.task.ready()
    example = load_examples(config.task, "train")[record - 1]
    written = tokenizer.encode(text, add_special_tokens=False)
    written += [tokenizer.eos_token_id] if ending is Ending.STOP else []
    blank = random_rollout(0, num_student=len(written), num_teacher=0)
    prompt = Prompt(7, tuple(encode_prompt(tokenizer, task, example)), record=record)
    return replace(blank, prompt=prompt, completion_token_ids=tuple(written), ending=ending)


@pytest.fixture
def run(project: Path) -> RunDirectory:
    config = settings()
    directory = RunDirectory.create(config)
    keep_tokenizer(directory, load_tokenizer(config.student.model), model_config())
    rollouts = [
        answered(config, 1, "1+2=3;#3"),
        answered(config, 2, "5+5=1;#1"),
        answered(config, 3, "2*2=4;#", Ending.LENGTH),
    ]
    save_rollouts(directory, 0, rollouts)
    return directory


def shown(run: RunDirectory, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    show_rollouts(run.path, None, 9, False, console)
    return console.file.getvalue()


def test_each_answer_is_marked_with_its_reference(run: RunDirectory) -> None:
    text = shown(run)
    assert "right   reference: 1+2=3;#3" in text
    assert "wrong   reference: 5+5=0;#0" in text
    assert "wrong   reference: 2*2=4;#4" in text


def test_a_run_is_shown_from_any_folder_and_after_the_student_has_gone(
    run: RunDirectory, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shown(run)
    shutil.rmtree(project / "student")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert shown(RunDirectory(project / "runs" / "run")) == before
    assert shown(RunDirectory(Path("../project/runs/run"))) == before


def test_data_that_is_gone_or_changed_is_said(run: RunDirectory, project: Path) -> None:
    data = project / "train.jsonl"
    lines = data.read_text().splitlines()
    # A record was put in front: the numbers have moved, and the prompts are found all the same.
    data.write_text("\n".join(['{"prompt": "9+9=", "reference": "#8"}', *lines]))
    assert "right   reference: 1+2=3;#3" in shown(run)
    data.write_text("\n".join(lines[1:]))
    text = " ".join(shown(run).replace("│", "").split())
    assert "not marked: the data has no such prompt any more, or the prompt was cut" in text
    assert "wrong reference: 5+5=0;#0" in text
    data.unlink()
    text = " ".join(shown(run).split())
    assert "answers are not marked: the run's data cannot be read (train.jsonl: no such file" in text
    assert "─ prompt 7 ─" in text
    assert "right" not in text


def test_a_mark_that_is_no_yes_or_no_is_a_number(project: Path) -> None:
    config = settings()
    marker = AnswerMarker(RunDirectory.create(config), config, load_tokenizer(config.student.model))
    answer = marker.answer_of(answered(config, 1, "1+2=3;#3"))
    assert (answer.words, answer.is_right) == ("right", True)
    scored = replace(answer, marks={"rouge_1": 0.5, "rouge_l": 0.25})
    assert (scored.words, scored.is_right) == ("rouge_1 0.50, rouge_l 0.25", False)


def test_a_task_that_cannot_be_imported_here_is_said(run: RunDirectory) -> None:
    config = parse_config(
        {**settings().model_dump(), "task": {"kind": "custom", "path": "no_such_tasks:Mine"}}
    )
    marker = AnswerMarker(run, config, load_tokenizer("student"))
    assert "no_such_tasks" in marker.problem
    assert marker.answer_of(answered(settings(), 1, "1")).marks is None


def test_the_tokenizer_is_the_newest_checkpoints_then_the_kept_one_then_the_students(
    run: RunDirectory, project: Path
) -> None:
    config = settings()
    other = load_tokenizer("student")
    other.add_tokens(["[NEW]"])
    other.save_pretrained(run.checkpoint(5))
    model_config().save_pretrained(run.checkpoint(5))
    assert len(load_kept_tokenizer(run, config)) == 20
    (run.checkpoint(5) / "tokenizer.json").write_text("{")
    assert len(load_kept_tokenizer(run, config)) == 19
    shutil.rmtree(run.checkpoint(5))
    assert len(load_kept_tokenizer(run, config)) == 19
    shutil.rmtree(tokenizer_folder(run))
    assert len(load_kept_tokenizer(run, config)) == 19
    shutil.rmtree(project / "student")
    with pytest.raises(
        ModelError, match=r"runs/run has no checkpoint and no tokenizer that can be read; student\.model: "
    ):
        load_kept_tokenizer(run, config)


def test_a_full_disk_leaves_no_half_of_a_tokenizer(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, config = load_tokenizer("student"), model_config()
    shutil.rmtree(tokenizer_folder(run))

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(config, "save_pretrained", full)
    with pytest.raises(StorageError, match="the disk is full"):
        keep_tokenizer(run, tokenizer, config)
    assert not tokenizer_folder(run).exists()
    assert not list(run.path.glob(".*partial"))


def test_a_tokenizer_is_kept_once(run: RunDirectory) -> None:
    other = load_tokenizer("student")
    other.add_tokens(["[NEW]"])
    keep_tokenizer(run, other, model_config())
    assert len(load_kept_tokenizer(run, settings())) == 19
    assert not list(run.path.glob(".*partial"))


def test_the_tokenizer_of_a_run_that_is_begun_anew_is_replaced(run: RunDirectory) -> None:
    """A run without a record may be begun anew with another student."""
    shutil.rmtree(run.rollouts)
    other = load_tokenizer("student")
    other.add_tokens(["[NEW]"])
    keep_tokenizer(run, other, model_config())
    assert len(load_kept_tokenizer(run, settings())) == 20


WIDE = ["word", "a\nb", "日本語" * 9, "\t", "x" * 60, "[/bold]", "é" * 30]


@pytest.mark.parametrize("width", [80, 100])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    console = Console(file=StringIO(), width=width)
    for seed in range(12):
        rollout = random_rollout(seed, num_student=30, num_teacher=20)
        rollout = replace(rollout, weights_version=123_456, prompt=replace(rollout.prompt, id=10**9))
        console.print(rollout_panel(rollout, lambda ids: " ".join(WIDE[i % len(WIDE)] for i in ids)))
    lines = console.file.getvalue().splitlines()
    assert len(lines) > 500
    assert max(map(cell_len, lines)) <= width


def test_the_figures_of_a_token_stay_on_its_line_at_80_columns() -> None:
    rollout = replace(
        random_rollout(1, num_student=4, num_teacher=0),
        divergences=(1.0, 20.0, 3.0, 4.0),
        thresholds=(float("inf"), 0.5, 10.0, 100.0),
    )
    console = Console(file=StringIO(), width=80)
    console.print(rollout_panel(rollout, lambda ids: "x" * 60 * len(ids)))
    rows = [line for line in console.file.getvalue().splitlines() if "'xxx" in line]
    assert len(rows) == 4
    assert all(figure in rows[1] for figure in ("20.000", "0.500", "▸ switch"))


def test_a_long_reference_is_cut(project: Path) -> None:
    config = settings()
    marker = AnswerMarker(RunDirectory.create(config), config, load_tokenizer(config.student.model))
    answer = replace(marker.answer_of(answered(config, 1, "#3")), reference="Q" * 5000)
    console = Console(file=StringIO(), width=80)
    console.print(rollout_panel(answered(config, 1, "#3"), lambda ids: "z", answer))
    assert console.file.getvalue().count("Q") == MAX_REFERENCE_CHARACTERS
    assert "…" in console.file.getvalue()
