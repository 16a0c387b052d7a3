"""``docker compose up`` with real images and a real engine: minutes, and not part of `make test`."""

import json
import socket
from pathlib import Path
from statistics import median

import httpx
import pytest
import yaml

from adaswitch.io.run_directory import RunDirectory, read_records
from tests.containers.engine import Engine
from tests.containers.stack import RAY, Stack, published
from tests.service_fixtures import ids_trained_on
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(2400)

TEACHER = "http://127.0.0.1:8000"
OUTSIDE = ("--config", "configs/demo.yaml", "teacher.url=http://teacher:8000", "runs_dir=/app/runs")
"""What a job from outside is told of the stack."""


def marks(run: RunDirectory) -> list[float]:
    return [record["value"] for record in read_records(run.evals) if record["metric"] == "exact_match"]


def test_the_demo_runs_to_its_end_though_its_teacher_is_killed_and_takes_jobs_from_outside(
    stack: Stack, images: dict[str, str]
) -> None:
    before = published()
    stack.compose("up", "-d", timeout_s=600.0)
    assert published() - before == {("127.0.0.1", 8000), ("127.0.0.1", 8265)}
    assert httpx.get(f"{TEACHER}/v1/model").status_code == 401
    with_key = httpx.get(f"{TEACHER}/v1/model", headers={"Authorization": f"Bearer {stack.key}"})
    assert with_key.json()["backend"] == "vllm"
    assert httpx.get(f"{RAY}/api/version").status_code in (401, 403)

    stack.wait_for_records("demo", 10)
    stack.kill("teacher")
    assert stack.wait_for_end("trainer", 900.0) == 0, stack.log("trainer")[-3000:]
    run = RunDirectory(stack.folder / "runs" / "demo")
    assert ids_trained_on(run) == list(range(200 * 32))
    first, *_, last = marks(run)
    assert first < 0.4 < 0.6 < last
    assert (run.path / "config.yaml").stat().st_uid == 1234
    assert "waiting for the teacher" in stack.log("student")

    short = (*OUTSIDE, "name=second", "trainer.num_steps=3", "trainer.eval_prompts=20")
    assert stack.submit(*short, token="wrong").returncode != 0
    second = stack.submit(*short)
    print(second.stdout)
    assert second.returncode == 0
    assert RunDirectory(stack.folder / "runs" / "second").checkpoint_steps() == [3]
    a_job_that_is_stopped_goes_on_when_it_is_handed_in_again(stack)

    stack.down()
    assert stack.left_over() == []
    assert published() == before


def a_job_that_is_stopped_goes_on_when_it_is_handed_in_again(stack: Stack) -> None:
    arguments = (*OUTSIDE, "name=stopped", "trainer.num_steps=40", "trainer.eval_every=0")
    run = RunDirectory(stack.folder / "runs" / "stopped")
    first = stack.submit(*arguments, options=("--no-wait", "--submission-id", "stopped"))
    assert first.returncode == 0, first.stdout
    stack.wait_for_records("stopped", 3)
    assert stack.job("stop", "stopped").returncode == 0
    (saved,) = run.checkpoint_steps()
    assert 3 <= saved < 40
    again = stack.submit(*arguments)
    assert again.returncode == 0, again.stdout
    assert ids_trained_on(run) == list(range(40 * 32))


def test_student_nodes_that_are_killed_or_cut_off_cost_no_prompt(stack: Stack) -> None:
    services = ("teacher", "ray-head", "student")
    stack.compose("up", "-d", "--scale", "student=3", *services, timeout_s=600.0)
    settings = (*OUTSIDE, "name=nodes", "trainer.num_steps=60", "trainer.eval_every=0")
    types = ("trainer.max_staleness=1", "student.dtype=bfloat16", "trainer.dtype=bfloat16")
    job = stack.submit(*settings, *types, options=("--no-wait", "--submission-id", "nodes"))
    assert job.returncode == 0, job.stdout
    stack.wait_for_records("nodes", 20)
    killed, cut_off, _ = stack.containers("student")
    stack.engine.docker("kill", killed)
    stack.wait_for_records("nodes", 40)
    stack.engine.docker("network", "disconnect", "adaswitch-test_private", cut_off)
    stack.wait_for_records("nodes", 60)
    wait_until(lambda: "SUCCEEDED" in stack.job("status", "nodes").stdout, "the job's end")
    run = RunDirectory(stack.folder / "runs" / "nodes")
    assert ids_trained_on(run) == list(range(60 * 32))
    steps_s = [float(record["step_s"]) for record in read_records(run.metrics)]
    typical_s, whole_s = median(steps_s), sum(steps_s)
    longest = ", ".join(f"step {steps_s.index(each) + 1} {each:.1f} s" for each in sorted(steps_s)[:-4:-1])
    print(f"three student nodes, one killed after step 20, one cut off after step 40: {whole_s:.0f} s")
    print(f"a step {typical_s:.2f} s (median); the longest: {longest}")


def up(stack: Stack) -> tuple[int, str]:
    """``docker compose up`` in the background: its exit code, and what it printed."""
    done = stack.compose("up", "-d", timeout_s=600.0, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("missing", [None, "ADASWITCH_API_KEY", "RAY_AUTH_TOKEN", "ADASWITCH_USER"])
def test_without_an_env_or_with_a_gap_in_it_nothing_starts_and_the_fix_is_named(
    engine: Engine, project: Path, missing: str | None
) -> None:
    stack = Stack(engine, project)
    (project / ".env").touch()
    if missing is not None:
        stack.write_env(**{"ADASWITCH_USER": "1:1", missing: ""})
    code, printed = up(stack)
    assert code != 0
    assert "make env" in printed


def test_a_model_that_is_not_there_ends_it_with_the_cause(stack: Stack) -> None:
    config = yaml.safe_load((stack.folder / "configs/demo.yaml").read_text())
    config["teacher"]["serve"]["model"] = "models/absent"
    (stack.folder / "configs/demo.yaml").write_text(yaml.safe_dump(config))
    code, _ = up(stack)
    assert code != 0
    assert "models/absent" in stack.log("teacher").strip().splitlines()[-1]


def test_another_key_ends_the_run_with_the_cause(stack: Stack) -> None:
    override = {"services": {"student": {"environment": {"ADASWITCH_API_KEY": "another"}}}}
    (stack.folder / "override.yml").write_text(json.dumps(override))
    stack.compose("up", "-d", timeout_s=600.0)
    assert stack.wait_for_end("trainer", 300.0) != 0
    assert "401" in stack.log("trainer").strip().splitlines()[-1]


def test_a_port_in_use_is_named(stack: Stack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 8000))
        taken.listen()
        code, printed = up(stack)
    assert code != 0
    assert "8000" in printed
