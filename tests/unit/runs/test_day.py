"""The day of a run's prompts: that of its first attempt, for every part of the run and whatever comes after it."""

import datetime
from pathlib import Path

import pytest

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError
from adaswitch.runs import day
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.recorded import resolve_config

FIRST, LATER = datetime.date(2026, 11, 30), datetime.date(2026, 12, 1)


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(day, "today", lambda: FIRST)
    return monkeypatch


def config(folder: Path, task: dict[str, object] | None = None, **settings: object) -> RunConfig:
    return parse_config(
        {
            "name": "run",
            "runs_dir": str(folder),
            "task": {"kind": "gsm8k", "train": {"path": "a.jsonl"}, **(task or {})},
            "teacher": {},
            "student": {"model": "models/chain-student"},
            **settings,
        }
    )


def test_a_run_that_is_resumed_tomorrow_keeps_its_day(tmp_path: Path, today: pytest.MonkeyPatch) -> None:
    first = resolve_config(config(tmp_path))
    assert first.task.chat.date == FIRST
    run = RunDirectory.create(first)
    today.setattr(day, "today", lambda: LATER)
    assert resolve_config(config(tmp_path)) == first
    assert resolve_config(load_config(run.path / "config.yaml")) == first
    assert resolve_config(config(tmp_path, name="another")).task.chat.date == LATER


def test_a_day_that_is_set_stays(tmp_path: Path) -> None:
    own = config(tmp_path, {"date": "2020-02-29"})
    assert resolve_config(own) is own
    assert own.task.chat.date == datetime.date(2020, 2, 29)


def test_prompts_that_no_template_renders_have_no_day(tmp_path: Path) -> None:
    for task in ({"chat_template": False}, {"kind": "jsonl"}):
        plain = config(tmp_path, task)
        assert resolve_config(plain) is plain


def test_a_task_of_ones_own_gets_the_day_without_being_imported(tmp_path: Path) -> None:
    own = config(tmp_path).model_dump(mode="json") | {"task": {"kind": "custom", "path": "nowhere:Task"}}
    resolved = resolve_config(parse_config(own))
    assert resolved.task.model_dump(mode="json")["date"] == "2026-11-30"


def test_a_checkpoint_is_asked_on_its_runs_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(config(tmp_path, {"date": "2020-02-29"}))
    checkpoint = run.checkpoint(3)
    assert day.day_of_checkpoint(str(checkpoint)) == datetime.date(2020, 2, 29)
    monkeypatch.chdir(run.checkpoints)
    assert day.day_of_checkpoint("step-3/") == datetime.date(2020, 2, 29)
    assert day.day_of_checkpoint(str(tmp_path)) is None
    assert day.day_of_checkpoint("models/chain-student") is None


def test_a_run_that_replays_another_has_the_others_day(tmp_path: Path) -> None:
    recorded = RunDirectory.create(config(tmp_path, {"date": "2020-02-29"}, name="old"))
    replay = config(tmp_path, policy={"kind": "replay", "run": str(recorded.path)})
    assert day.with_day_of_run(replay).task.chat.date == datetime.date(2020, 2, 29)


def test_a_day_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    run = RunDirectory.create(config(tmp_path))
    (run.path / "config.yaml").write_text("task: {date: soon}\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: task\.date: soon is no day"):
        resolve_config(config(tmp_path))
