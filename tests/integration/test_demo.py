"""The demo as a newcomer runs it, with vLLM serving the teacher, but for a handful of steps."""

from pathlib import Path

import pytest

from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.shards import read_shard
from tests.service_fixtures import command

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs_vllm,
    pytest.mark.timeout(400),
]


def test_the_demo_end_to_end(tmp_path: Path, free_port: int) -> None:
    few = ["trainer.num_steps=4", "trainer.eval_every=2", "trainer.eval_prompts=50"]
    where = [f"runs_dir={tmp_path}", f"teacher.serve.port={free_port}"]
    first = command("adaswitch", "demo", *few, *where)
    assert first.returncode == 0, first.stdout
    run = RunDirectory(tmp_path / "demo")
    assert len(list(read_records(run.metrics))) == 4
    assert [record["step"] for record in read_records(run.evals)] == [0, 2, 4]
    rollouts = [rollout for shard in run.shards() for rollout in read_shard(shard)]
    assert [rollout.prompt.id for rollout in rollouts] == list(range(128))
    # A teacher that is always right and a student that is not: the pen must change hands.
    assert sum(rollout.switch_position is not None for rollout in rollouts) > 64
    for words in ("exact match", "rollouts that switched", "mean switch position", "written by the teacher"):
        assert words in first.stdout
    assert f"run directory: {run.path}" in first.stdout
