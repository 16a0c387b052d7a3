"""Rules of one's own: the examples of ``docs/extending.md`` run, and a new file in a room is a new rule."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from adaswitch.commands.cli import run as run_all
from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError
from adaswitch.evaluation.command import run_eval
from adaswitch.evaluation.request import EvalRequest, choose_prompts
from adaswitch.method.rollout import Rollout
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.shards import read_shard
from experiments.local import train_locally
from experiments.plan import cells, load_plan
from experiments.preflight import require_data
from services.student.__main__ import main as run_students
from tests.extending import ROOT, examples, write_examples
from trainer.__main__ import main as run_trainer

STUDENT = "models/chain-student"
SMALL = {
    "seed": 3,
    "task": {"kind": "chain", "num_train": 20, "num_eval": 8},
    "teacher": {"serve": {"model": "models/chain-teacher", "engine": "transformers"}},
    "student": {"model": STUDENT, "max_new_tokens": 16, "group_size": 4},
    "trainer": {"num_steps": 2, "prompts_per_step": 4, "eval_every": 0},
}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory):
    """Where the page's files lie, as in the working directory of a run."""
    folder = tmp_path_factory.mktemp("own")
    write_examples(folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def merged(base: dict[str, object], more: dict[str, object]) -> dict[str, object]:
    """``more`` over ``base``; of a group that both have, what either has. A rule replaces a rule."""
    result = dict(base)
    for key, value in more.items():
        inner = result.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict) and "kind" not in value
        result[key] = merged(inner, value) if both else value
    return result


def config(runs: Path, name: str, *more: dict[str, object]) -> RunConfig:
    """The small run with the page's settings ``name`` in it."""
    document = merged(SMALL, yaml.safe_load(examples()[name]))
    for each in more:
        document = merged(document, each)
    return parse_config({**document, "name": name.partition(".")[0], "runs_dir": str(runs)})


def trained(settings: RunConfig) -> tuple[list[Rollout], list[dict[str, object]]]:
    """The run's rollouts, and its marks."""
    assert train_locally(settings, lambda: False)
    run = RunDirectory.open(Path(settings.runs_dir) / settings.name)
    assert [record["step"] for record in read_records(run.metrics)] == [0, 1]
    return [rollout for shard in run.shards() for rollout in read_shard(shard)], list(read_records(run.evals))


def test_the_page_has_an_example_of_each_kind() -> None:
    assert set(examples()) == {
        *("my_rules.py", "my_switch.py", "my_losses.py", "my_tasks.py"),
        *("policy.yaml", "switch.yaml", "loss.yaml", "task.yaml", "notes.yaml"),
    }


def test_the_policy_of_the_page_runs(tmp_path: Path) -> None:
    rollouts, _ = trained(config(tmp_path, "policy.yaml"))
    assert len(rollouts) == 8
    assert any(rollout.switch_position is not None for rollout in rollouts)


def test_the_switch_rule_of_the_page_runs(tmp_path: Path) -> None:
    rollouts, _ = trained(config(tmp_path, "switch.yaml"))
    for rollout in rollouts:
        assert all(threshold == float("inf") for threshold in rollout.thresholds[:4])
        for place, threshold in enumerate(rollout.thresholds[4:], start=4):
            assert threshold == pytest.approx(1.5 * max(rollout.divergences[place - 4 : place]))


def test_the_loss_and_the_task_of_the_page_run(tmp_path: Path) -> None:
    loss = yaml.safe_load(examples()["loss.yaml"])
    rollouts, marks = trained(config(tmp_path, "task.yaml", loss, {"trainer": {"eval_every": 2}}))
    assert {rollout.prompt.token_ids.__len__() for rollout in rollouts} == {5}, "a BOS and 3+5="
    assert {(mark["task"], mark["metric"], mark["n"]) for mark in marks} == {("Sums", "exact_match", 10)}


def test_the_tasks_of_the_page_are_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "notes.jsonl"
    notes.write_text('{"ask": "3+5=", "say": "3+5=8;#8"}\n{"ask": "2+2=", "say": " "}\n', encoding="utf-8")
    for kind, data, overrides, num in (
        ("my_tasks:Sums", None, ["settings.num_eval=7"], 7),
        ("custom", None, ["path=my_tasks:Sums", "settings={num_eval: 5}"], 5),
        ("my_tasks:Notes", str(notes), [], 2),
    ):
        prompts = choose_prompts(None, kind, data, overrides)
        output = tmp_path / f"{kind.replace(':', '-')}-{num}"
        request = EvalRequest(STUDENT, prompts.task, prompts.limit, 16, output=output)
        assert run_eval(request, Console(quiet=True))
        results = json.loads((output / "results.json").read_text())
        assert results["prompts"] == num
        assert len(results["unmarked"]) == (1 if data else 0)


def test_the_rules_of_the_page_are_compared(tmp_path: Path) -> None:
    """A plan's cells may have rules of one's own, and each complaint names its method."""
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump({**SMALL, "name": "base"}))
    plan = tmp_path / "plan.yaml"
    methods = {"own": {"policy": yaml.safe_load(examples()["policy.yaml"])["policy"]}}
    document = {"name": "p", "base": str(base), "seeds": [1], "methods": methods, "reference": "own"}
    plan.write_text(yaml.safe_dump({**document, "runs_dir": str(tmp_path)}))
    [cell] = cells(load_plan(plan))
    require_data(load_plan(plan), [cell], "transformers")
    assert train_locally(parse_config(cell.config.model_dump(mode="json")), lambda: False)
    assert (cell.folder / "checkpoints/step-2").is_dir()
    plan.write_text(plan.read_text().replace("my_rules:Hesitant", "my_rules:Nobody"))
    with pytest.raises(ConfigError, match=r"method own: policy.path: the module 'my_rules' has no 'Nobody'"):
        require_data(load_plan(plan), cells(load_plan(plan)), None)


MISTAKES = {
    "trainer": (run_trainer, "policy={kind: custom, path: gone:A}", "policy.path: cannot import 'gone'"),
    "students": (run_students, "policy={kind: custom, path: gone:A}", "policy.path: cannot import 'gone'"),
    "launcher": (
        run_all,
        "trainer.loss={kind: custom, path: gone:A}",
        "trainer.loss.path: cannot import 'gone'",
    ),
}


@pytest.mark.parametrize(("program", "setting", "cause"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2_before_anything_starts(
    program: Callable[..., None], setting: str, cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program(config=ROOT / "configs/demo.yaml", overrides=[f"runs_dir={tmp_path / 'runs'}", setting])
    assert ended.value.code == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"error: {cause}: ModuleNotFoundError: No module named")
    assert complaint.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_mistake_is_one_line_of_a_real_process(tmp_path: Path) -> None:
    (tmp_path / "broken_rules.py").write_text("import nowhere\n", encoding="utf-8")
    setting = "policy={kind: custom, path: broken_rules:A}"
    command = [sys.executable, "-m", "adaswitch", "run", "--config", str(ROOT / "configs/demo.yaml"), setting]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    options = [f"runs_dir={tmp_path / 'runs'}"]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: policy.path: cannot import 'broken_rules': ModuleNotFoundError")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


NEW_FILES = {
    "method/policies/hesitant.py": ("my_rules.py", "Policy", "hesitant"),
    "method/losses/hellinger.py": ("my_losses.py", "DivergenceLoss", "hellinger"),
    "tasks/sums.py": ("my_tasks.py", "GeneratedTask", "sums"),
}
PROGRAM = """
import sys, yaml
from adaswitch.config.parsing import parse_config
from experiments.local import train_locally
import adaswitch.method.policies.hesitant
assert adaswitch.method.policies.hesitant.__file__.startswith(sys.argv[1]), "the changed copy is not the one in use"
document = yaml.safe_load(sys.stdin)
config = parse_config(document)
assert parse_config(config.model_dump(mode="json")) == config
assert train_locally(config, lambda: False)
print(type(config.policy).__name__, type(config.trainer.loss).__name__, type(config.task).__name__)
"""


def test_one_new_file_is_a_new_policy_loss_or_task(tmp_path: Path) -> None:
    """In a copy of the code to which nothing but the files is added."""
    for package in ("adaswitch", "services", "trainer", "experiments"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path, (example, base, kind) in NEW_FILES.items():
        source = re.sub(
            rf"(class \w+\({base}\):\n    \"\"\".*?\"\"\"\n)",
            rf'\1\n    kind: Literal["{kind}"] = "{kind}"\n',
            examples()[example],
        )
        assert source != examples()[example]
        (tmp_path / "adaswitch" / path).write_text(
            f"from typing import Literal\n\n{source}", encoding="utf-8"
        )
    document = {
        **SMALL,
        "name": "new",
        "runs_dir": str(tmp_path / "runs"),
        "policy": {"kind": "hesitant", "tau": 0.5},
        "task": {"kind": "sums", "num_eval": 3},
        "trainer": {"num_steps": 1, "prompts_per_step": 4, "loss": {"kind": "hellinger"}, "eval_every": 1},
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        input=yaml.safe_dump(document),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Hesitant Hellinger Sums"
