"""``docker compose up`` with real images and a real engine: minutes, and not part of `make test`."""

import json
import socket
from pathlib import Path
from statistics import median

import httpx
import pytest
import yaml

from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.shards import read_shard
from tests.containers.engine import Engine
from tests.containers.stack import RAY, Stack, published, reachable
from tests.service_fixtures import ids_trained_on
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(2400)

TEACHER = "http://127.0.0.1:8000"
OUTSIDE = ("--config", "configs/demo.yaml", "teacher.url=http://teacher:8000", "runs_dir=/app/runs")
"""What a job from outside is told of the stack."""


def marks(run: RunDirectory) -> list[float]:
    return [record["value"] for record in read_records(run.evals) if record["metric"] == "exact_match"]


@pytest.mark.parametrize("part", ["teacher", "student", "trainer"])
def test_an_image_has_what_its_part_needs_and_no_more(
    engine: Engine, images: dict[str, str], part: str
) -> None:
    image = f"adaswitch-{part}"
    config = json.loads(engine.docker("inspect", "--format", "{{json .Config}}", image).stdout)
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.title"] == f"AdaSwitch {part}"
    assert (config.get("Healthcheck") is not None) == (part != "trainer")
    tools = "for tool in gcc cc g++ make ld git uv; do command -v $tool; done"
    caches = "find /root/.cache /var/lib/apt/lists -type f 2>/dev/null"
    look = f"{tools}; {caches}; true"
    found = engine.docker("run", "--rm", "--user=0", "--entrypoint=sh", image, "-c", look)
    assert found.stdout.split() == []
    history = engine.docker("history", "--no-trunc", image).stdout
    assert "index-url" not in history
    assert "ADASWITCH_API_KEY" not in history


def test_the_demo_runs_to_its_end_though_its_teacher_is_killed_and_takes_jobs_from_outside(
    stack: Stack, images: dict[str, str], tmp_path: Path
) -> None:
    before, reachable_before = published(), reachable()
    stack.compose("up", "-d", timeout_s=600.0)
    open_now = {("127.0.0.1", 8000), ("127.0.0.1", 8265)}
    assert published() - before == open_now
    assert reachable() - reachable_before == open_now
    assert httpx.get(f"{TEACHER}/v1/model").status_code == 401
    with_key = httpx.get(f"{TEACHER}/v1/model", headers={"Authorization": f"Bearer {stack.key}"})
    assert with_key.json()["backend"] == "vllm"
    assert httpx.get(f"{RAY}/api/version").status_code in (401, 403)

    stack.wait_for_records("demo", 10)
    stack.kill("teacher")
    stack.wait_for_records("demo", 60)
    run = RunDirectory(stack.folder / "runs" / "demo")
    stack.compose("stop", "trainer", timeout_s=120.0)
    assert max(run.checkpoint_steps()) >= 60, stack.log("trainer")[-3000:]
    stack.compose("start", "trainer")
    assert stack.wait_for_end("trainer", 900.0) == 0, stack.log("trainer")[-3000:]
    assert ids_trained_on(run) == list(range(200 * 32))
    first, *_, last = marks(run)
    assert first < 0.4 < 0.6 < last
    assert (run.path / "config.yaml").stat().st_uid == 1234
    assert "waiting for the teacher" in stack.log("student")

    another_job_from_a_folder_with_nothing_but_its_config(stack, tmp_path)
    a_job_that_is_stopped_goes_on_when_it_is_handed_in_again(stack)
    no_secret_is_told(stack)

    stack.down()
    assert stack.left_over() == []
    assert published() == before


def another_job_from_a_folder_with_nothing_but_its_config(stack: Stack, folder: Path) -> None:
    config = yaml.safe_load((stack.folder / "configs/demo.yaml").read_text())
    config |= {"name": "second", "policy": {"kind": "on_policy"}}
    # In another folder than the images' own, names of folders have to be whole.
    config["student"]["model"] = "/app/models/chain-student"
    config["task"]["num_train"] = 100
    config["trainer"] |= {"num_steps": 3, "eval_prompts": 20, "loss": {"kind": "jsd", "beta": 0.5}}
    (folder / "job").mkdir()
    (folder / "job" / "second.yaml").write_text(yaml.safe_dump(config))
    arguments = ("--config", "second.yaml", "teacher.url=http://teacher:8000", "runs_dir=/app/runs")
    assert stack.submit(*arguments, folder=folder / "job", token="wrong").returncode != 0
    second = stack.submit(*arguments, folder=folder / "job")
    assert second.returncode == 0, second.stdout
    run = RunDirectory(stack.folder / "runs" / "second")
    assert run.checkpoint_steps() == [3]
    assert not any(rollout.by_teacher.any() for shard in run.shards() for rollout in read_shard(shard))


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
    print(again.stdout)
    assert again.returncode == 0
    assert ids_trained_on(run) == list(range(40 * 32))
    # The repository with all that is in a checkout, and none of what is made there.
    uploaded = "du -sm /tmp/ray/session_latest/runtime_resources/working_dir_files/*/"
    sizes = stack.engine.docker("exec", stack.container("ray-head"), "sh", "-c", uploaded).stdout.splitlines()
    assert 0 < max(int(line.split()[0]) for line in sizes) < 20


def no_secret_is_told(stack: Stack) -> None:
    written = [path for path in (stack.folder / "runs").rglob("*") if path.is_file()]
    for secret in (stack.key, stack.token):
        assert secret not in stack.compose("logs", "--no-color").stdout
        assert not [path for path in written if secret.encode() in path.read_bytes()]


def test_student_nodes_that_are_killed_or_cut_off_cost_no_prompt(stack: Stack) -> None:
    services = ("teacher", "ray-head", "student")
    stack.compose("up", "-d", "--scale", "student=3", *services, timeout_s=600.0)
    stack.wait_until_healthy("teacher")
    killed, cut_off, _ = stack.wait_until_healthy("student")
    settings = (
        *OUTSIDE,
        "name=nodes",
        "trainer.num_steps=60",
        "trainer.eval_every=0",
        "student.group_size=8",
    )
    types = ("trainer.max_staleness=1", "student.dtype=bfloat16", "trainer.dtype=bfloat16")
    job = stack.submit(*settings, *types, options=("--no-wait", "--submission-id", "nodes"))
    assert job.returncode == 0, job.stdout
    stack.wait_for_records("nodes", 20)
    wait_until(lambda: len(stack.student_nodes()) == 3, "students on three nodes")
    num_before_kill = stack.num_records("nodes")
    stack.engine.docker("kill", killed)
    stack.wait_for_records("nodes", 40)
    assert len(stack.student_nodes()) == 2
    num_before_cut = stack.num_records("nodes")
    stack.engine.docker("network", "disconnect", "adaswitch-test_private", cut_off)
    stack.wait_for_records("nodes", 60)
    wait_until(lambda: "succeeded" in stack.job("status", "nodes").stdout, "the job's end")
    run = RunDirectory(stack.folder / "runs" / "nodes")
    assert ids_trained_on(run) == list(range(60 * 32))
    records = list(read_records(run.metrics))
    # Whoever wrote a rollout had the newest weights, or those before.
    assert max(record["staleness"] for record in records) <= 1
    steps_s = [float(record["step_s"]) for record in records]
    longest = ", ".join(f"step {steps_s.index(each) + 1} {each:.1f} s" for each in sorted(steps_s)[:-4:-1])
    print(f"three student nodes: 60 steps in {sum(steps_s):.0f} s, {median(steps_s):.2f} s each (median)")
    print(
        f"one killed after step {num_before_kill}, one cut off after step {num_before_cut}; longest: {longest}"
    )


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
    stack.override("student", environment={"ADASWITCH_API_KEY": "another"})
    done = stack.compose("up", "--exit-code-from", "trainer", timeout_s=600.0, check=False)
    assert done.returncode != 0
    assert "401" in stack.log("trainer").strip().splitlines()[-1]


def test_another_token_ends_it_with_the_cause(stack: Stack) -> None:
    stack.override("student", environment={"RAY_AUTH_TOKEN": "another"})
    code, _ = up(stack)
    assert code != 0
    assert "RAY_AUTH_TOKEN" in stack.log("student").strip().splitlines()[-1]


def test_a_teacher_that_does_not_become_ready_ends_it_with_the_cause(stack: Stack) -> None:
    # Minutes to load, and little patience.
    command = ["--config", "configs/demo.yaml", "teacher.serve.host=0.0.0.0", "teacher.serve.slow_start_s=2"]
    # No start period at all would be the image's.
    health = {"interval": "2s", "retries": 2, "start_period": "1s"}
    stack.override("teacher", command=command, healthcheck=health, cpus="0.2")
    code, _ = up(stack)
    assert code != 0
    wait_until(lambda: "error: not ready after 2 s" in stack.log("teacher"), "the cause")


def test_a_port_in_use_is_named(stack: Stack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 8000))
        taken.listen()
        code, printed = up(stack)
    assert code != 0
    assert "8000" in printed
