"""Policies over the wire on a running Ray cluster: what one needs reaches the students, and what it costs is kept."""

import pytest

from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.shards import read_shard
from tests.service_fixtures import (
    Cluster,
    ConfigWriter,
    assert_nothing_left,
    command,
    students,
)

STEP = {"kind": "sentence", "ends": [";"]}
pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def trained(write: ConfigWriter, cluster: Cluster, **settings: object) -> RunDirectory:
    """A run that students and trainer completed on the cluster."""
    config = write(**{"teacher.url": cluster.teacher_url, "trainer.eval_every": 0, **settings})
    with students(config, cluster) as service:
        result = command("trainer", "--config", str(config), **cluster.environment)
        assert result.returncode == 0, result.stdout
        assert service.wait(60) == 0, service.last_error()
    assert_nothing_left(config.parent)
    return RunDirectory(config.parent / "runs" / str(settings.get("name", "demo")))


def test_what_a_policy_needs_reaches_the_students_and_a_recorded_run_is_replayed(
    short_config: ConfigWriter, cluster: Cluster
) -> None:
    run = trained(
        short_config,
        cluster,
        policy={"kind": "mixed", "other": "dataset"},
        teacher_budget={"tokens_per_step": 20},
    )
    rollouts = [rollout for shard in run.shards() for rollout in read_shard(shard)]
    for rollout in rollouts:
        own = rollout.prompt.coin < 0.5
        assert own == (not rollout.by_teacher.any())
        assert own or rollout.completion_token_ids == rollout.prompt.reference_token_ids
        assert rollout.prompt.max_teacher_tokens in (2, 3)
    assert len({rollout.prompt.coin < 0.5 for rollout in rollouts}) == 2

    config = short_config(
        name="again", policy={"kind": "replay", "run": str(run.path)}, **{"trainer.eval_every": 0}
    )
    result = command("adaswitch", "run", "--config", str(config))
    assert result.returncode == 0, result.stdout
    again = RunDirectory(config.parent / "runs" / "again")
    assert {path.name for path in (again.path / "logs").iterdir()} == {
        "config.yaml",
        "environment.json",
        "trainer.log",
    }
    old, new = ([record["loss"] for record in read_records(one.metrics)] for one in (run, again))
    assert old == new
    assert_nothing_left(config.parent)


@pytest.mark.parametrize(
    "policy",
    [
        {"kind": "skd", "accept_top_k": 1},
        # Its legs end at tokens that the student finds by their texts, and the teacher is told of.
        {"kind": "take_over", "trigger": {"kind": "top_k", "accept_top_k": 1}, "hold": STEP},
    ],
    ids=["skd", "take_over"],
)
def test_taking_turns_under_a_budget_over_the_wire(
    short_config: ConfigWriter, cluster: Cluster, policy: dict[str, object]
) -> None:
    run = trained(short_config, cluster, policy=policy, teacher_budget={"tokens_per_step": 24})
    records = list(read_records(run.metrics))
    assert len(records) == 3
    for record in records:
        assert 0 < record["teacher_tokens"] <= 24
        assert record["budget_cut_rate"] == 0
    assert any(record["switch_rate"] for record in records)


@pytest.mark.needs_vllm
def test_students_on_vllm_write_the_same_rollouts(short_config: ConfigWriter, cluster: Cluster) -> None:
    """Until rounding in the trainer's updates tells the runs apart, token for token, and an evaluation's as well."""
    written, losses, marks = {}, {}, {}
    for engine, eval_by in (("transformers", "trainer"), ("vllm", "students")):
        settings = {"trainer.num_steps": 2, "trainer.eval_every": 2, "trainer.eval_by": eval_by}
        run = trained(short_config, cluster, name=engine, **{"student.engine": engine, **settings})
        first_eval, _ = read_records(run.evals)
        marks[engine] = (first_eval["step"], first_eval["n"], first_eval["value"])
        log = (run.path.parents[1] / "students.log").read_text()
        assert f"student.engine: {engine} (as student.engine says)" in log
        first, second = (read_shard(shard) for shard in run.shards())
        written[engine] = [rollout.completion_token_ids for rollout in first]
        assert [rollout.weights_version for rollout in second] == [1] * len(second)
        losses[engine] = [record["loss"] for record in read_records(run.metrics)]
    assert written["transformers"] == written["vllm"]
    assert marks["transformers"] == marks["vllm"]
    assert losses["transformers"][0] == pytest.approx(losses["vllm"][0], abs=1e-4)


def test_a_teacher_that_is_not_there_is_one_line(
    short_config: ConfigWriter, cluster: Cluster, free_port: int
) -> None:
    nobody = f"http://127.0.0.1:{free_port}"
    config = short_config(
        name="nobody", **{"teacher.serve": None, "teacher.url": nobody, "teacher.max_wait_s": 2.0}
    )
    result = command("services.student", "--config", str(config), **cluster.environment)
    errors = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2, result.stdout
    assert len(errors) == 1, result.stdout
    assert f"no teacher answers at {nobody}" in errors[0]
    assert "Traceback" not in result.stdout
