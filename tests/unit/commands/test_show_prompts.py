"""The first prompts of a run, looked at before the run: as text and in tokens, as the models will see them."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from adaswitch.commands.cli import app
from adaswitch.commands.show_prompts import first_examples, show_prompts
from adaswitch.tasks.base import DataSource
from adaswitch.tasks.jsonl import JsonlTask
from tests.chat_tokenizer import DATED, byte_tokenizer


def shown(config: str | Path, *overrides: str, num: int = 2, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    show_prompts(Path(config), overrides, num, console)
    text = console.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    return text


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """The config of a run whose student has a chat template with a date."""
    model = tmp_path / "student"
    byte_tokenizer(DATED).save_pretrained(model)
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 100}))
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps({"prompt": "Hi " * n, "reference": "x"}) + "\n" for n in (1, 40)))
    document = {
        "name": "chat",
        "task": {"kind": "jsonl", "train": {"path": str(data)}, "chat_template": True, "date": "2026-11-30"},
        "teacher": {},
        "student": {"model": str(model), "max_new_tokens": 16},
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(document))
    return path


def test_plain_prompts_are_shown_with_their_special_tokens() -> None:
    text = shown("configs/demo.yaml")
    assert "the first 2 training prompts of demo" in text
    assert "plain text, without a chat template" in text
    assert "record 1 (train)" in text
    assert "<bos>" in text
    assert "1:'<bos>'" in text
    assert "record 3" not in text


def test_chat_prompts_are_shown_as_the_models_see_them(chat: Path) -> None:
    text = shown(
        chat, "task.system_prompt=Be brief.", "task.chat_template_kwargs={thinking: false}", width=200
    )
    assert "with the chat template, on 2026-11-30" in " ".join(text.split())
    assert "Today is 30 Nov 2026.<|system|>Be brief.<|end|><|user|>Hi <|end|>" in text
    assert "'\u2423'" in text
    assert "line 2: the prompt has" in " ".join(text.replace("\u2502", " ").split())
    assert "note: task.chat_template_kwargs.thinking: the chat template never reads it" in " ".join(
        text.split()
    )


def test_a_prompt_that_is_cut_is_shown_cut(chat: Path) -> None:
    text = shown(chat, "task.too_long=truncate", width=300)
    assert "line 2 \u00b7 84 tokens \u00b7 cut" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_prompts_fit_the_terminal(chat: Path, width: int) -> None:
    shown(chat, width=width)


def test_no_more_records_are_read_than_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "reference": "b"}\nbroken\n')
    assert len(first_examples(JsonlTask(train=DataSource(path=str(path))), 1)) == 1
    assert len(first_examples(JsonlTask(train=DataSource(path=str(path), limit=1)), 5)) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give one run directory, as in runs/demo, or --prompts CONFIG"),
        (["runs/a", "runs/b"], "give one run directory"),
        (["--prompts", "configs/demo.yaml", "--step", "3"], "leave --step and --switched out"),
        (["--prompts", "nowhere.yaml"], "config file nowhere.yaml: No such file"),
        (
            ["--prompts", "configs/demo.yaml", "student.model=models/nobody"],
            "student.model: there is no folder",
        ),
    ],
)
def test_what_cannot_be_shown_is_one_line(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, ["inspect", *arguments])
    assert result.exit_code == 2
    assert complaint in result.output


def test_the_command_shows_prompts_with_overrides() -> None:
    result = CliRunner().invoke(
        app, ["inspect", "--prompts", "configs/demo.yaml", "task.seed=5", "--num", "1"]
    )
    assert result.exit_code == 0
    assert "the first 1 training prompts of demo" in result.output
