"""Students and trainer on a running Ray cluster: resumed runs, jobs handed in."""

import os
import signal

import pytest
import torch
from transformers import AutoModelForCausalLM

from adaswitch.io.run_directory import RunDirectory, read_records, read_shard
from tests.service_fixtures import (
    Cluster,
    ConfigWriter,
    command,
    ids_trained_on,
    students,
    trainer,
    wait_for_records,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def weights(run: RunDirectory, step: int) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(run.checkpoint(step)).state_dict()


def test_runs_end_with_the_same_weights_bit_for_bit_whole_interrupted_or_in_one_process(
    short_config: ConfigWriter, cluster: Cluster
) -> None:
    settings = {
        "teacher.url": cluster.teacher_url,
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

    # Two student actors now: who writes a rollout must not matter either.
    with students(config, cluster, "name=parts", "student.num_actors=2"):
        interrupted = trainer(config, cluster, "name=parts")
        wait_for_records(parts.metrics, 2, interrupted)
        os.kill(interrupted.pid, signal.SIGTERM)
        assert interrupted.wait(60) == 130, interrupted.last_error()
    (saved,) = parts.checkpoint_steps()
    assert 2 <= saved < 8
    with students(config, cluster, "name=parts", "student.num_actors=2"):
        result = command("trainer", "--config", str(config), "name=parts", **cluster.environment)
        assert result.returncode == 0, result.stdout

    result = command(
        "experiments.cell", "--local", "transformers", "--config", str(short_config(name="local", **settings))
    )
    assert result.returncode == 0, result.stdout

    expected = weights(whole, 8)
    for run in (parts, local):
        actual = weights(run, 8)
        assert all(torch.equal(expected[name], actual[name]) for name in expected)
        assert [r["loss"] for r in read_records(run.metrics)] == [
            r["loss"] for r in read_records(whole.metrics)
        ]
        assert ids_trained_on(run) == list(range(64))


def test_a_trainer_handed_in_as_a_ray_job(short_config: ConfigWriter, cluster: Cluster) -> None:
    config = short_config(name="job", **{"teacher.url": cluster.teacher_url})
    overrides = [
        "name=job",
        f"runs_dir={config.parent / 'runs'}",
        "trainer.num_steps=3",
        "trainer.eval_prompts=20",
    ]
    arguments = ["submit", "--address", cluster.dashboard_url, "--working-dir", "."]
    arguments += ["--", "python", "-m", "trainer", "--config", "configs/demo.yaml", *overrides]
    with students(config, cluster):
        result = command("ray.scripts.scripts", "job", *arguments, **cluster.environment)
    assert result.returncode == 0, result.stdout
    assert "succeeded" in result.stdout
    run = RunDirectory(config.parent / "runs" / "job")
    assert [len(read_shard(shard)) for shard in run.shards()] == [32, 32, 32]
    assert run.checkpoint_steps() == [3]
