"""Whole runs on this machine by the command line: teacher, Ray, students and trainer as separate processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from adaswitch.commands.cli import app
from adaswitch.processes.managed import ManagedProcess
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.shards import read_shard
from adaswitch.runs.status import Phase, read_status
from tests.service_fixtures import assert_nothing_left, command, inside, wait_for_records
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


def run_of(config: Path, name: str = "demo") -> RunDirectory:
    return RunDirectory(config.parent / "runs" / name)


def test_a_run_completes_and_can_be_looked_at(short_config: Callable[..., Path]) -> None:
    config = short_config(**{"student.num_actors": 2, "trainer.max_staleness": 1})
    result = command("adaswitch", "run", "--config", str(config))
    assert result.returncode == 0, result.stdout
    run = run_of(config)
    metrics = list(read_records(run.metrics))
    assert [record["step"] for record in metrics] == [0, 1, 2]
    assert max(record["staleness"] for record in metrics) <= 1
    assert [record["step"] for record in read_records(run.evals)] == [0, 3]
    assert [len(read_shard(shard)) for shard in run.shards()] == [8, 8, 8]
    ids = [rollout.prompt.id for shard in run.shards() for rollout in read_shard(shard)]
    assert ids == list(range(24))
    AutoModelForCausalLM.from_pretrained(run.checkpoint(3))
    assert "exact match on 20 held-out prompts" in result.stdout
    assert str(run.path) in result.stdout
    assert_nothing_left(config.parent)

    inspected = inside(app, "inspect", str(run.path), "--num", "2")
    assert inspected.returncode == 0, inspected.stdout
    assert "prompt 16" in inspected.stdout
    assert "divergence" in inspected.stdout
    reported = inside(app, "report", str(run.path))
    assert reported.returncode == 0, reported.stdout
    assert "complete: 3 of 3 steps, attempt 1" in reported.stdout
    assert "written by the student" in reported.stdout

    again = inside(app, "run", "--config", str(config))
    assert again.returncode == 0, again.stdout
    assert f"{run.path} is complete after 3 steps" in again.stdout
    listed = inside(app, "runs", str(run.path.parent))
    assert "complete" in listed.stdout
    assert "3/3" in listed.stdout


def test_ctrl_c_stops_everything_and_saves_what_was_trained(short_config: Callable[..., Path]) -> None:
    config = short_config(**{"trainer.num_steps": 500, "trainer.checkpoint_every": 0})
    log = config.parent / "launcher.log"
    launcher = ManagedProcess("launcher", "adaswitch", ["run", "--config", str(config)], log)
    run = run_of(config)
    wait_for_records(run.metrics, 2, launcher)
    os.kill(launcher.pid, signal.SIGINT)
    assert launcher.wait(120) == 130
    output = log.read_text()
    assert "Traceback" not in output
    assert "stopping: the trainer saves what was trained" in output
    assert f"saved in {run.path}" in output
    (saved,) = run.checkpoint_steps()
    assert saved == len(list(read_records(run.metrics)))
    assert_nothing_left(config.parent)
    status = read_status(run)
    assert status is not None
    assert (status.phase, status.during, status.step) == (Phase.STOPPED, Phase.TRAINING, saved)

    # While it starts again: twice, which is impatient.
    impatient = ManagedProcess("launcher", "adaswitch", ["run", "--config", str(config)], log)
    wait_until(lambda: (run.attempts / "2" / "ray.log").is_file(), "the start of Ray")
    # Two signals of one kind might come as one.
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(impatient.pid, number)
    assert impatient.wait(60) == 130
    output = log.read_text()
    assert "that is impatient: ending at once; nothing more is saved" in output
    assert output.count(f"saved in {run.path}") == 2
    assert run.checkpoint_steps() == [saved]
    assert_nothing_left(config.parent)


def assert_one_line(result: subprocess.CompletedProcess[str], message: str) -> None:
    """One error, with the exit code of what its user can mend."""
    errors = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2, result.stdout
    assert len(errors) == 1, result.stdout
    assert message in errors[0]
    assert "Traceback" not in result.stdout


UNKNOWN = ({"trainer.num_stepz": 3}, "trainer.num_stepz: unknown setting; did you mean num_steps?")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        UNKNOWN,
        ({"student.model": "models/nobody"}, "student.model: there is no folder 'models/nobody'"),
        ({"teacher.serve.model": "models/nobody"}, "teacher.serve.model: there is no folder 'models/nobody'"),
        (
            {"teacher.serve.max_model_len": 40},
            "more than the 40 that the teacher (teacher.serve.max_model_len) takes",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    short_config: Callable[..., Path], settings: dict[str, object], message: str
) -> None:
    config = short_config(**settings)
    assert_one_line(inside(app, "run", "--config", str(config)), message)
    assert_nothing_left(config.parent)


def test_bad_input_is_one_line_of_a_process_too(short_config: Callable[..., Path]) -> None:
    settings, message = UNKNOWN
    assert_one_line(command("adaswitch", "run", "--config", str(short_config(**settings))), message)


def test_an_occupied_port_is_one_line(short_config: Callable[..., Path], free_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        result = inside(app, "run", "--config", str(short_config()))
    assert_one_line(result, f"port {free_port} is taken")


def test_another_tokenizer_is_one_line(short_config: Callable[..., Path], tmp_path: Path) -> None:
    other = tmp_path / "other-student"
    shutil.copytree("models/chain-student", other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["+"], vocabulary["-"] = vocabulary["-"], vocabulary["+"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    result = command("adaswitch", "run", "--config", str(short_config(**{"student.model": str(other)})))
    assert_one_line(result, "different tokenizers")


def test_a_broken_data_file_is_named_with_its_line(short_config: Callable[..., Path], tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "1+1?", "answer": "#### 2"}\n{"question": \n')
    config = short_config(task={"kind": "gsm8k", "train": {"path": str(data)}})
    assert_one_line(inside(app, "run", "--config", str(config)), "data.jsonl, line 2")
    assert_nothing_left(config.parent)
