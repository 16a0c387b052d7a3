"""``adaswitch config``: every setting is told, and what is made of it in the repository is up to date."""

import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from adaswitch.commands import settings as page
from adaswitch.commands.cli import app
from adaswitch.config.described import settings_of
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError
from adaswitch.version import __version__
from experiments.plan import Plan

ROOT = Path(__file__).parents[3]
RUNS = [*sorted((ROOT / "configs").glob("*.yaml")), ROOT / "deploy/run.yaml"]
PLANS = sorted((ROOT / "experiments/plans").glob("*.yaml"))


def shown(path: str = "") -> str:
    console = Console(file=io.StringIO(), width=100)
    page.print_settings(page.settings_below(path), console)
    return console.file.getvalue()


def test_the_docs_and_the_schemas_are_up_to_date() -> None:
    again = "make it again: adaswitch config --{} > {}"
    assert (ROOT / "docs/settings.md").read_text() == page.markdown(), again.format(
        "markdown", "docs/settings.md"
    )
    assert (ROOT / "configs/schema.json").read_text() == page.schema(), again.format(
        "schema", "configs/schema.json"
    )
    plans = json.loads((ROOT / "experiments/plans/schema.json").read_text())
    assert plans == Plan.model_json_schema(), again.format("schema", "configs/schema.json")


@pytest.mark.parametrize("path", [*RUNS, *PLANS], ids=lambda path: path.name)
def test_a_shipped_file_names_its_schema_first_and_keeps_to_it(path: Path) -> None:
    import jsonschema

    first = path.read_text().partition("\n")[0]
    assert first.startswith("# yaml-language-server: $schema=")
    schema = json.loads((path.parent / first.partition("=")[2]).read_text())
    # Plans and runs write large numbers as 2.0e-3, which YAML reads as a number.
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_the_schema_finds_a_mistake() -> None:
    import jsonschema

    document = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    document["trainer"]["num_stpes"] = 3
    with pytest.raises(jsonschema.ValidationError, match="num_stpes"):
        jsonschema.validate(document, json.loads(page.schema()))


def test_every_field_of_every_group_is_told() -> None:
    told = {setting.path for setting in settings_of(RunConfig)}
    for path in (
        "name",
        "task.kind",
        "task.train.path",
        "teacher.serve.kv_cache_gib",
        "policy.rule.settings",
        "policy.min_probability",
        "teacher_budget.tokens_per_run",
        "trainer.loss.alpha",
        "trainer.optimizer.betas",
        "queue.capacity",
        "ray.namespace",
    ):
        assert path in told
    assert all(setting.meaning and setting.type and setting.default for setting in settings_of(RunConfig))


def test_a_setting_is_told_with_type_default_kinds_and_meaning() -> None:
    taus = {setting.of_kinds: setting for setting in settings_of(RunConfig) if setting.path == "policy.tau"}
    assert set(taus) == {("threshold",), ("relay",), ("ssd",), ("switch",)}
    assert (taus[("threshold",)].type, taus[("threshold",)].default) == ("number >= 0", "required")
    assert (taus[("relay",)].type, taus[("relay",)].default) == ("number >= 0 | null", "null")
    text = shown("trainer.loss")
    assert "trainer.loss.beta  number > 0 and < 1  default: 0.5" in text
    assert "with kind jsd" in text
    assert "trainer.loss.kind  cross_entropy | custom | forward_kl" in text
    assert "trainer.optimizer" not in text
    assert "student.model  text  required" in shown("student")
    assert "teacher.serve  settings | null  default: null" in shown()


def test_what_has_no_settings_is_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"trainer.los: there is no such setting; the groups are name, .*trainer"
    ):
        page.settings_below("trainer.los")


def test_the_command_prints_each_form() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["config", "queue"]).stdout.startswith("queue  settings  default: see below")
    assert runner.invoke(app, ["config", "--schema"]).stdout == page.schema()
    assert runner.invoke(app, ["config", "--markdown"]).stdout == page.markdown()
    both = runner.invoke(app, ["config", "queue", "--schema"])
    assert both.exit_code == 2


def test_the_version_is_told_and_the_same_everywhere() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"adaswitch {__version__}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    done = subprocess.run(
        [sys.executable, "-m", "adaswitch", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, f"adaswitch {__version__}\n")
