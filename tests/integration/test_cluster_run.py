"""Students and trainer on a running Ray cluster: resumed runs, jobs handed in."""

import os
import secrets
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import typer
from prometheus_client.parser import text_string_to_metric_families
from transformers import AutoModelForCausalLM

from adaswitch.processes.managed import ManagedProcess, wait_for_file
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.shards import read_shard
from experiments.cell import main as cell
from tests.dashboards import complaints_of_all
from tests.promql import exposed
from tests.service_fixtures import (
    Cluster,
    ConfigWriter,
    command,
    ids_trained_on,
    inside,
    students,
    trainer,
    unused_port,
    wait_for_records,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def weights(run: RunDirectory, step: int) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(run.checkpoint(step)).state_dict()


Served = dict[str, dict[str, dict[str, float]]]
"""From metrics by name to sources, and to values by the labels' values."""


def metrics_of(run: str, port: int) -> Served:
    """What Prometheus would read of ``run`` now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    found: Served = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels["run"] == run:
                rest = "".join(value for key, value in sample.labels.items() if key not in ("run", "source"))
                found.setdefault(sample.name, {}).setdefault(sample.labels["source"], {})[rest] = sample.value
    return found


def assert_metrics_are_those_on_record(run: RunDirectory, attempt: int, port: int) -> None:
    """What is served of a run that has just ended, of all its parts, is what its records say."""
    served, records = metrics_of(run.path.name, port), list(read_records(run.metrics))
    source = f"attempt-{attempt}"
    assert served["adaswitch_trainer_updates_total"] == {source: {"": len(records)}}
    tokens = served["adaswitch_trainer_tokens_total"][source]
    assert tokens["teacher"] == sum(record["teacher_tokens"] for record in records)
    assert tokens["student"] == sum(record["student_tokens"] for record in records)
    assert served["adaswitch_trainer_loss_nats"][source]["all"] == records[-1]["loss"]
    [accepted] = served["adaswitch_queue_accepted_rollouts_total"].values()
    made = sum(of[""] for of in served["adaswitch_student_rollouts_total"].values())
    assert made == accepted[""]
    assert all(of["student"] > 0 for of in served["adaswitch_student_busy_seconds_total"].values())


def test_runs_end_with_the_same_weights_bit_for_bit_whole_interrupted_or_in_one_process(
    short_config: ConfigWriter, cluster: Cluster
) -> None:
    port = unused_port()
    settings = {
        "teacher.url": cluster.teacher_url,
        "ray.metrics_port": port,
        "trainer.num_steps": 8,
        "trainer.eval_every": 0,
        "trainer.checkpoint_every": 0,
    }
    config = short_config(**settings)
    names = ("whole", "parts", "local")
    whole, parts, local = (RunDirectory(config.parent / "runs" / name) for name in names)
    with students(config, cluster, "name=whole"):
        result = command("trainer", "--config", str(config), "name=whole", **cluster.environment)
        assert result.returncode == 0, result.stdout
        assert_metrics_are_those_on_record(whole, 1, port)

    # Two student actors now: who writes a rollout must not matter either.
    with students(config, cluster, "name=parts", "student.num_actors=2"):
        interrupted = trainer(config, cluster, "name=parts")
        wait_for_records(parts.metrics, 2, interrupted)
        os.kill(interrupted.pid, signal.SIGTERM)
        assert interrupted.wait(60) == 130, interrupted.last_error()
    (saved,) = parts.checkpoint_steps()
    assert 2 <= saved < 8
    [board] = cluster.workers("MetricsBoard")
    board.kill()  # the next one serves what is reported then
    with students(config, cluster, "name=parts", "student.num_actors=2"):
        result = command("trainer", "--config", str(config), "name=parts", **cluster.environment)
        assert result.returncode == 0, result.stdout
        assert_metrics_are_those_on_record(parts, 2, port)

    app = typer.Typer()
    app.command()(cell)
    config = short_config(name="local", **settings)
    result = inside(app, "--local", "transformers", "--config", str(config))
    assert result.returncode == 0, result.stdout

    expected = weights(whole, 8)
    for run in (parts, local):
        actual = weights(run, 8)
        assert all(torch.equal(expected[name], actual[name]) for name in expected)
        assert [r["loss"] for r in read_records(run.metrics)] == [
            r["loss"] for r in read_records(whole.metrics)
        ]
        assert ids_trained_on(run) == list(range(64))


def job(cluster: Cluster, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    address = ["--address", cluster.dashboard_url]
    return command("ray.scripts.scripts", "job", verb, *address, *arguments, **cluster.environment)


def submit(
    cluster: Cluster, *overrides: str, options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    entry = ["python", "-m", "trainer", "--config", "configs/demo.yaml", *overrides]
    return job(cluster, "submit", "--working-dir", ".", *options, "--", *entry)


def test_jobs_are_served_by_students_that_know_of_none_and_one_that_is_stopped_goes_on(
    short_config: ConfigWriter, cluster: Cluster
) -> None:
    folder = short_config().parent
    overrides = [
        f"runs_dir={folder / 'runs'}",
        f"teacher.url={cluster.teacher_url}",
        "trainer.eval_prompts=20",
        "trainer.eval_every=0",
    ]
    log = folder / "students.log"
    service = ManagedProcess("students", "services.student", ["--here"], log, cluster.environment)
    # Ray has a job join whichever cluster it finds, unless the job's own has left word of itself.
    address = folder / "address"
    arguments = ["--address-file", str(address), "--num-cpus", "1"]
    its_own = {**cluster.environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    younger = ManagedProcess("ray", "adaswitch.cluster.head", arguments, folder / "ray.log", its_own)
    try:
        done = submit(cluster, *overrides, "name=job", "trainer.num_steps=3")
        assert done.returncode == 0, done.stdout
        assert "succeeded" in done.stdout
        run = RunDirectory(folder / "runs" / "job")
        assert [len(read_shard(shard)) for shard in run.shards()] == [32, 32, 32]
        assert run.checkpoint_steps() == [3]

        wait_for_file(address, younger, 120)
        stopped = RunDirectory(folder / "runs" / "stopped")
        again = [*overrides, "name=stopped", "trainer.num_steps=20", "trainer.prompts_per_step=16"]
        options = ["--no-wait", "--submission-id", "to-be-stopped"]
        begun = submit(cluster, *again, options=options)
        assert begun.returncode == 0, begun.stdout
        wait_for_records(stopped.metrics, 2, service)
        ended = job(cluster, "stop", "to-be-stopped")
        assert "was stopped" in ended.stdout, ended.stdout
        (saved,) = stopped.checkpoint_steps()
        assert 2 <= saved < 20
        done = submit(cluster, *again)
        assert done.returncode == 0, done.stdout
        assert ids_trained_on(stopped) == list(range(20 * 16))
    finally:
        service.stop(20)
        younger.stop(15)
    assert service.exit_code == 0
    lines = log.read_text().splitlines()
    assert "job: the run is complete" in lines
    assert "stopped: the run is complete" in lines


def test_the_dashboard_asks_ray_for_what_it_serves(cluster: Cluster) -> None:
    session = Path(tempfile.gettempdir(), "ray", f"adaswitch-{cluster.head_pid}", "session_latest")
    [file] = session.glob("metrics_export_port_*")

    def complaints() -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{file.read_text()}/metrics") as answer:
            return complaints_of_all(exposed(answer.read().decode()), "ray_.*")

    # Ray's parts hand their metrics over every ten seconds.
    wait_until(
        lambda: not complaints(), "all metrics of Ray that the dashboard asks for", lambda: time.sleep(1)
    )


def test_queue_and_weight_board_are_on_the_node_that_began_the_run() -> None:
    # Else a student node that is lost could take them along, and the run would wait until Ray gives the node up.
    result = command("tests.placement")
    assert result.returncode == 0, result.stdout
    assert result.stdout.splitlines()[-1] == "6 here, 0 elsewhere"
