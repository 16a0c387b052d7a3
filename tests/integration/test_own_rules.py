"""Rules of one's own on a cluster: the user's files travel with the job to trainer and students, and nowhere else."""

from pathlib import Path

import pytest
import yaml

from adaswitch.processes.managed import ManagedProcess
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.shards import read_shard
from tests.extending import ROOT, examples, write_examples
from tests.service_fixtures import Cluster, ConfigWriter, command

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

RAISING = """
from adaswitch import Policy


class Raising(Policy):
    async def roll_out(self, stages):
        raise KeyError("no mood")
"""


def test_a_policy_and_a_loss_of_ones_own_travel_with_the_job(
    short_config: ConfigWriter, cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    write_examples(folder)
    (folder / "raising_rules.py").write_text(RAISING, encoding="utf-8")
    own = {name: yaml.safe_load(examples()[f"{name}.yaml"]) for name in ("policy", "loss")}
    settings = {
        "teacher.url": cluster.teacher_url,
        "student.model": str(ROOT / "models/chain-student"),
        "trainer.num_steps": 2,
        "trainer.eval_every": 0,
        "trainer.loss": own["loss"]["trainer"]["loss"],
        "policy": own["policy"]["policy"],
    }
    (folder / "mine.yaml").write_text(short_config(name="own", **settings).read_text(), encoding="utf-8")
    log = tmp_path / "students.log"
    # Started where none of the files is.
    service = ManagedProcess("students", "services.student", ["--here"], log, cluster.environment)
    submit = ["ray.scripts.scripts", "job", "submit", "--address", cluster.dashboard_url]
    job = [*submit, "--working-dir", str(folder), "--", "python", "-m", "trainer", "--config", "mine.yaml"]
    try:
        done = command(*job, **cluster.environment)
        assert done.returncode == 0, done.stdout
        failed = command(
            *job,
            "name=raising",
            "policy.path=raising_rules:Raising",
            "policy.settings={}",
            **cluster.environment,
        )
    finally:
        service.stop(20)
    run = RunDirectory(tmp_path / "runs" / "own")
    assert len(list(read_records(run.metrics))) == 2
    rollouts = [rollout for shard in run.shards() for rollout in read_shard(shard)]
    assert len(rollouts) == 16
    assert any(rollout.switch_position is not None for rollout in rollouts)
    assert "own: the run is complete" in log.read_text().splitlines()
    assert failed.returncode != 0
    complaint = (
        "policy.path: raising_rules:Raising.roll_out raised KeyError: 'no mood' (raising_rules.py, line 7)"
    )
    assert f"error: a student failed: {complaint}" in failed.stdout
