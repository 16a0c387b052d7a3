"""Every program that starts a run, or a part of one, first says what is wrong with it, and has started nothing then."""

import importlib.util
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from adaswitch.commands.cli import app
from adaswitch.config.parsing import with_overrides
from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.preflight.folders import read_model_files
from experiments.__main__ import main as compare
from services.student.__main__ import main as students
from tests.service_fixtures import unused_port
from trainer.__main__ import main as trainer

ROOT = Path(__file__).parents[3]
WHOLE, TRAINER, STUDENTS, COMPARE, COMPARE_LOCAL = "run", "trainer", "students", "compare", "compare --local"
PROGRAMS = (WHOLE, "demo", TRAINER, STUDENTS, COMPARE, COMPARE_LOCAL)
SERVING = (WHOLE, "demo", COMPARE, COMPARE_LOCAL)
TRAINING = (*SERVING, TRAINER)


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever would be started is noted, and fails."""
    started: list[str] = []

    def start(*arguments: object, **options: object) -> None:
        started.append(repr(arguments))
        raise AssertionError(f"started: {arguments}")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("adaswitch.processes.managed.ManagedProcess.__init__", start)
    monkeypatch.setattr("adaswitch.cluster.actors.connect", start)
    return started


def settings(folder: Path, **changes: object) -> dict[str, object]:
    document: dict[str, object] = {
        "name": "run",
        "runs_dir": str(folder / "runs"),
        "task": {"kind": "chain", "num_train": 12, "num_eval": 8},
        "teacher": {
            "url": f"http://127.0.0.1:{unused_port()}",
            "serve": {"model": "models/chain-teacher", "engine": "transformers", "port": unused_port()},
        },
        "student": {"model": "models/chain-student", "max_new_tokens": 64},
    }
    return with_overrides(document, list(changes.items()))


def invoked(program: str, folder: Path, document: dict[str, object]) -> Result:
    """The end of ``program`` on a run with the settings ``document``."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    if program in (WHOLE, "demo"):
        return CliRunner().invoke(app, [program, "--config", str(config)])
    command = typer.Typer()
    if program in (TRAINER, STUDENTS):
        command.command()(trainer if program == TRAINER else students)
        return CliRunner().invoke(command, ["--config", str(config)])
    command.command()(compare)
    plan = {
        "name": "two",
        "runs_dir": document["runs_dir"],
        "base": str(config),
        "seeds": [1],
        "methods": {"adaswitch": {}},
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    return CliRunner().invoke(command, ["--plan", str(folder / "plan.yaml"), *program.split()[1:]])


def assert_refused(result: Result, message: str, folder: Path, started: list[str]) -> None:
    assert message in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.stderr
    assert started == []
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("program", [WHOLE, COMPARE])
def test_the_students_engine_is_looked_for_where_students_are_started(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_starts: list[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "vllm" else find(name, *more)
    )
    result = invoked(program, tmp_path, settings(tmp_path, **{"student.engine": "vllm"}))
    assert_refused(result, "student.engine: vllm is not installed", tmp_path, nothing_starts)


@pytest.mark.parametrize("program", TRAINING)
def test_a_tracker_that_is_not_installed_is_named_before_anything_starts(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_starts: list[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "trackio" else find(name, *more)
    )
    result = invoked(program, tmp_path, settings(tmp_path, trackers=["tensorboard", "trackio"]))
    said = "trackers: trackio is not installed; get it with `uv pip install 'adaswitch[trackio]'`"
    assert_refused(result, said, tmp_path, nothing_starts)


CHEAP = [
    ({"student.model": "models/nobody"}, "student.model: there is no folder 'models/nobody'", PROGRAMS),
    (
        {"student.model": "nobody/nowhere"},
        "student.model: cannot load 'nobody/nowhere': there is no such",
        PROGRAMS,
    ),
    ({"teacher.serve.model": "models/nobody"}, "teacher.serve.model: there is no folder", SERVING),
    (
        {"teacher.serve.max_model_len": 4096},
        "teacher.serve.max_model_len: 4096 is more than the 128",
        SERVING,
    ),
    (
        {"student.max_new_tokens": 500},
        "student.max_new_tokens: 500 tokens after a prompt are more than",
        PROGRAMS,
    ),
    ({"trainer.device": "gpu"}, "trainer.device: 'gpu' is no device", PROGRAMS),
    ({"student.device": "cuda:x"}, "student.device: 'cuda:x' is no device", PROGRAMS),
    ({"policy": {"kind": "custom", "path": "no_such_rules:Mine"}}, "no_such_rules", PROGRAMS),
    (
        {"teacher.serve.host": "0.0.0.0"},
        "teacher.serve.host: 0.0.0.0 can be reached from other",
        (WHOLE, COMPARE),
    ),
]
CASES = [(program, changes, message) for changes, message, programs in CHEAP for program in programs]


@pytest.mark.parametrize(("program", "changes", "message"), CASES)
def test_a_wrong_setting_is_said_before_anything_heavy_is_imported(
    tmp_path, nothing_starts, monkeypatch, program, changes, message
) -> None:
    monkeypatch.delenv("ADASWITCH_API_KEY", raising=False)
    document = settings(tmp_path, **changes)
    with monkeypatch.context() as heavy:
        heavy.setitem(sys.modules, "adaswitch.data.preflight", None)
        heavy.setitem(sys.modules, "adaswitch.data.models", None)
        result = invoked(program, tmp_path, document)
    assert_refused(result, message, tmp_path, nothing_starts)


@pytest.mark.parametrize("program", [WHOLE, COMPARE])
def test_a_port_that_is_taken_is_said(tmp_path, nothing_starts, program) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = invoked(program, tmp_path, settings(tmp_path, **{"teacher.serve.port": port}))
    assert_refused(result, f"teacher.serve.port: port {port} is taken", tmp_path, nothing_starts)


DATA = [
    (None, "train.jsonl: no such file"),
    ('{"prompt": "1=", "reference": "1"}\n{"prompt": \n', "train.jsonl, line 2: not valid JSON"),
    ('{"prompt": "1=", "reference": "1"}\n{"question": "1="}\n', 'train.jsonl, line 2: no field "prompt"'),
]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(("content", "message"), DATA)
def test_a_fault_in_the_data_is_said_before_anything_heavy_is_imported(
    tmp_path, nothing_starts, monkeypatch, program, content, message
) -> None:
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_text(content)
    elif program == STUDENTS:
        pytest.skip("students read no data, and may run where there is none")
    document = settings(tmp_path, task={"kind": "jsonl", "train": {"path": str(path)}})
    with monkeypatch.context() as heavy:
        heavy.setitem(sys.modules, "adaswitch.data.preflight", None)
        result = invoked(program, tmp_path, document)
    assert_refused(result, message, tmp_path, nothing_starts)


@pytest.mark.parametrize("program", TRAINING)
def test_a_prompt_that_is_too_long_is_said(tmp_path, nothing_starts, program) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(f'{{"prompt": "{"1+" * 60}1=", "reference": "1"}}\n')
    result = invoked(
        program, tmp_path, settings(tmp_path, task={"kind": "jsonl", "train": {"path": str(path)}})
    )
    assert_refused(result, "train.jsonl, line 1: the prompt has 12", tmp_path, nothing_starts)


@pytest.mark.parametrize("program", SERVING)
@pytest.mark.parametrize(("old", "new"), [('"#"', '"?"'), ('"<eos>"', '"</s>"')])
def test_a_teacher_with_other_tokens_is_said(tmp_path, nothing_starts, program, old, new) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree("models/chain-teacher", teacher)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (teacher / name).write_text((teacher / name).read_text().replace(old, new))
    result = invoked(program, tmp_path, settings(tmp_path, **{"teacher.serve.model": str(teacher)}))
    message = (
        f"teacher.serve.model: '{teacher}' and the student 'models/chain-student' have different tokenizers"
    )
    assert_refused(result, message, tmp_path, nothing_starts)


@pytest.mark.parametrize("program", TRAINING)
def test_adapters_for_layers_that_are_not_there_are_said(tmp_path, nothing_starts, program) -> None:
    document = settings(tmp_path, **{"trainer.lora": {"target_modules": ["c_attn"]}})
    message = "trainer.lora.target_modules: no layer of this model is named c_attn: its linear layers are down_proj, "
    assert_refused(invoked(program, tmp_path, document), message, tmp_path, nothing_starts)


@pytest.mark.parametrize("program", TRAINING)
def test_adapters_without_their_library_are_said(tmp_path, nothing_starts, monkeypatch, program) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        "adaswitch.preflight.training.importlib.util.find_spec",
        lambda name, *rest: None if name == "peft" else there(name, *rest),
    )
    result = invoked(program, tmp_path, settings(tmp_path, **{"trainer.lora": {}}))
    assert_refused(result, "trainer.lora: peft is not installed", tmp_path, nothing_starts)


@pytest.mark.parametrize("program", [WHOLE, TRAINER, COMPARE])
def test_ranks_for_a_model_without_known_layers_are_said(
    tmp_path, nothing_starts, monkeypatch, program
) -> None:
    monkeypatch.setattr("adaswitch.data.causal_lm.layers_of", lambda model: [])
    document = settings(tmp_path, **{"trainer.num_ranks": 2, "trainer.eval_by": "students"})
    message = "trainer.num_ranks: the layers of 'models/chain-student' (LlamaForCausalLM)"
    assert_refused(invoked(program, tmp_path, document), message, tmp_path, nothing_starts)


@pytest.mark.parametrize("program", TRAINING)
def test_layers_that_cannot_be_compiled_are_said(tmp_path, nothing_starts, monkeypatch, program) -> None:
    document = settings(tmp_path, **{"trainer.compile": True, "trainer.device": "cpu"})
    monkeypatch.setenv("CXX", "no-such-compiler")
    message = "trainer.compile: it needs a C++ compiler, such as g++"
    assert_refused(invoked(program, tmp_path, document), message, tmp_path, nothing_starts)
    monkeypatch.setattr("adaswitch.data.causal_lm.layers_of", lambda model: [])
    message = "trainer.compile: the layers of 'models/chain-student' (LlamaForCausalLM)"
    assert_refused(invoked(program, tmp_path, document), message, tmp_path, nothing_starts)


@pytest.mark.parametrize("program", TRAINING)
def test_means_in_8_bits_without_their_library_are_said(
    tmp_path, nothing_starts, monkeypatch, program
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        "adaswitch.preflight.training.importlib.util.find_spec",
        lambda name, *rest: None if name == "torchao" else there(name, *rest),
    )
    result = invoked(program, tmp_path, settings(tmp_path, **{"trainer.optimizer.kind": "adamw_8bit"}))
    assert_refused(
        result, "trainer.optimizer.kind: adamw_8bit needs torchao, which is not", tmp_path, nothing_starts
    )


def test_ranks_in_one_process_are_refused(tmp_path, nothing_starts) -> None:
    document = settings(tmp_path, **{"trainer.num_ranks": 2, "trainer.eval_by": "students"})
    message = "trainer.num_ranks: 2 ranks are actors on a Ray cluster"
    assert_refused(invoked(COMPARE_LOCAL, tmp_path, document), message, tmp_path, nothing_starts)


def seen_teacher(monkeypatch: pytest.MonkeyPatch, sha256: str, max_model_len: int = 128) -> None:
    from adaswitch.teachers.first_look import Seen

    seen = Seen("http://far:1", "far-teacher", sha256, max_model_len)
    monkeypatch.setattr("adaswitch.preflight.look_at_teacher", lambda config, say: seen)


@pytest.mark.parametrize("program", [WHOLE, COMPARE, TRAINER, STUDENTS])
def test_a_teacher_elsewhere_with_other_tokens_is_said(
    tmp_path, nothing_starts, monkeypatch, program
) -> None:
    seen_teacher(monkeypatch, "0" * 64)
    result = invoked(program, tmp_path, settings(tmp_path, **{"teacher.serve": None}))
    message = "teacher.url: 'far-teacher' at http://far:1 and the student 'models/chain-student' have different token"
    assert_refused(result, message, tmp_path, nothing_starts)


@pytest.mark.parametrize("program", [WHOLE, COMPARE, TRAINER])
def test_a_teacher_elsewhere_that_takes_too_little_is_said(
    tmp_path, nothing_starts, monkeypatch, program
) -> None:
    own = tokenizer_sha256(read_model_files("models/chain-student", "model").vocabulary)
    seen_teacher(monkeypatch, own, max_model_len=70)
    result = invoked(program, tmp_path, settings(tmp_path, **{"teacher.serve": None}))
    message = (
        "with student.max_new_tokens 64 that is more than the 70 that 'far-teacher' at http://far:1 takes"
    )
    assert_refused(result, message, tmp_path, nothing_starts)


@pytest.mark.parametrize("program", [WHOLE, TRAINER, STUDENTS])
def test_a_teacher_that_is_not_there_yet_is_announced_and_waited_for(
    tmp_path, nothing_starts, program
) -> None:
    document = settings(tmp_path, **{"teacher.serve": None})
    result = invoked(program, tmp_path, document)
    assert "teacher: none is ready yet (http://127.0.0.1:" in " ".join(result.stdout.split())
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert [line for line in errors if "started: " not in line] == []
    # The run itself is begun.
    assert len(nothing_starts) == 1


def test_the_cheap_checks_import_nothing_heavy(tmp_path) -> None:
    """As a whole program, so that no other test's imports count."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(tmp_path, **{"teacher.serve.model": "models/nobody"})))
    code = (
        "import sys\n"
        "from adaswitch.commands.cli import app\n"
        "try:\n"
        f"    app(['run', '--config', {str(config)!r}])\n"
        "finally:\n"
        "    print(sorted({'torch', 'transformers', 'ray', 'vllm'} & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 2
    assert "teacher.serve.model: there is no folder 'models/nobody'" in result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
