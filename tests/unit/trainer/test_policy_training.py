"""Each policy trains, on real tiny models; and a recorded run is replayed bit for bit."""

from pathlib import Path

import pytest
import torch

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.rollout import Ending
from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.recorded import resolve_config
from adaswitch.runs.shards import read_shard, save_rollouts
from services.student.__main__ import main as start_students
from tests.local_source import LocalSource, LocalTeacher
from trainer.job import prepare
from trainer.loop import train
from trainer.replay import ReplaySource

POLICIES: list[dict[str, object]] = [
    {"kind": "adaswitch", "window": 2, "factor": 1.5},
    {"kind": "threshold", "tau": 0.5},
    {"kind": "on_policy"},
    {"kind": "off_policy"},
    {"kind": "dataset"},
    {"kind": "mixed", "other": "dataset"},
    {"kind": "mixed", "other": "teacher"},
    {"kind": "skd", "accept_top_k": 1},
    {"kind": "relay", "judge": "probability", "min_probability": 0.3, "guide_tokens": 2},
    {"kind": "random_switch", "positions": [0.0, 0.5, 0.2]},
    {"kind": "shared_scale", "factor": 2.0},
]


@pytest.fixture(scope="module")
def teacher() -> LocalTeacher:
    return LocalTeacher("models/chain-teacher")


def config(folder: Path, policy: dict[str, object], name: str = "run", **settings: object) -> RunConfig:
    return parse_config(
        {
            "name": name,
            "runs_dir": str(folder),
            "seed": 3,
            "task": {"kind": "chain", "num_train": 20, "num_eval": 8},
            "teacher": {"top_k": 19},
            "student": {"model": "models/chain-student", "max_new_tokens": 12, "group_size": 4},
            "policy": policy,
            "trainer": {"num_steps": 2, "prompts_per_step": 4, "eval_every": 0},
            **settings,
        }
    )


def run_training(settings: RunConfig, teacher: LocalTeacher) -> dict[str, torch.Tensor]:
    """The weights at the end."""
    job, start = prepare(settings, lambda: LocalSource(settings, teacher), lambda: False)
    assert train(job, start) == settings.trainer.num_steps
    job.recorder.close()
    return {name: tensor.clone() for name, tensor in job.learner.weights().items()}


def run_of(settings: RunConfig) -> RunDirectory:
    return RunDirectory(Path(settings.runs_dir) / settings.name)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: "-".join(map(str, policy.values())))
def test_each_policy_trains(tmp_path: Path, teacher: LocalTeacher, policy: dict[str, object]) -> None:
    settings = config(tmp_path, policy)
    run_training(settings, teacher)
    records = list(read_records(run_of(settings).metrics))
    assert [record["step"] for record in records] == [0, 1]
    assert all(record["grad_norm"] > 0 for record in records)
    rollouts = [rollout for shard in run_of(settings).shards() for rollout in read_shard(shard)]
    assert len(rollouts) == 8
    for rollout in rollouts:
        expected = rollout.costs.teacher_tokens
        if not rollout.costs.student_tokens and not expected:
            expected = rollout.num_tokens  # the data set's own
            reference = rollout.prompt.reference_token_ids[: rollout.num_tokens]
            assert rollout.completion_token_ids == reference
        assert rollout.by_teacher.sum() == expected


@pytest.mark.parametrize("policy", [POLICIES[0], POLICIES[3], POLICIES[7]], ids=lambda policy: policy["kind"])
def test_the_teachers_budget_holds_in_every_step(
    tmp_path: Path, teacher: LocalTeacher, policy: dict[str, object]
) -> None:
    settings = config(tmp_path, policy, teacher_budget={"tokens_per_step": 10, "tokens_per_run": 18})
    run_training(settings, teacher)
    records = list(read_records(run_of(settings).metrics))
    assert all(0 < record["teacher_tokens"] <= 9 for record in records)
    cut = [
        rollout.ending is Ending.BUDGET
        for shard in run_of(settings).shards()
        for rollout in read_shard(shard)
    ]
    assert sum(record["budget_cut_rate"] * 4 for record in records) == sum(cut)
    assert any(cut) == (policy["kind"] != "skd")


def test_a_replayed_run_ends_with_the_same_weights(tmp_path: Path, teacher: LocalTeacher) -> None:
    recorded = config(tmp_path, POLICIES[0], "old")
    expected = run_training(recorded, teacher)
    again = config(tmp_path, {"kind": "replay", "run": str(run_of(recorded).path)}, "new")
    job, start = prepare(again, _nobody, lambda: False)
    train(job, start)
    job.recorder.close()
    weights = job.learner.weights()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    of_interest = ("loss", "switch_rate", "staleness", "teacher_tokens")
    old, new = (
        [[r[name] for name in of_interest] for r in read_records(run_of(c).metrics)]
        for c in (recorded, again)
    )
    assert old == new
    assert [record["queue_depth"] for record in read_records(run_of(again).metrics)] == [0, 0]


def _nobody() -> LocalSource:
    raise AssertionError("a replayed run connects to nobody")


def test_steps_of_other_sizes_are_replayed_whole(tmp_path: Path, teacher: LocalTeacher) -> None:
    recorded = config(tmp_path, POLICIES[0], "old")
    run_training(recorded, teacher)
    shard = run_of(recorded).shards()[1]
    save_rollouts(run_of(recorded), 1, read_shard(shard)[:3])
    source = ReplaySource(str(run_of(recorded).path), vocab_size=19, max_tokens=128)
    steps = [job_prompts(recorded, teacher, step) for step in (0, 1)]
    assert [len(source.take(prompts, lambda: False)) for prompts in steps] == [4, 3]
    assert source.take(steps[0], lambda: True) is None


def job_prompts(settings: RunConfig, teacher: LocalTeacher, step: int):
    job, _ = prepare(settings, lambda: LocalSource(settings, teacher), lambda: False)
    job.recorder.close()
    return job.schedule.step(step)


def test_a_recorded_run_that_is_damaged_or_of_other_models_is_named(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    recorded = config(tmp_path, POLICIES[0], "old")
    run_training(recorded, teacher)
    path = str(run_of(recorded).path)
    with pytest.raises(DataError, match="rollouts over 19 tokens cannot train a student of 20"):
        ReplaySource(path, vocab_size=20, max_tokens=128)
    with pytest.raises(DataError, match="more than the 15 that the student takes"):
        ReplaySource(path, vocab_size=19, max_tokens=15)
    again = config(tmp_path, {"kind": "replay", "run": path}, "new")
    shards = run_of(recorded).shards()
    content = shards[0].read_bytes()
    other = content.replace(b"adaswitch-rollouts-1", b"adaswitch-rollouts-9")
    for damaged, words in ((content[:200], "damaged"), (other, "not rollouts of the form")):
        shards[0].write_bytes(damaged)
        with pytest.raises(DataError, match=rf"step-000000\.safetensors: .*{words}"):
            prepare(again, _nobody, lambda: False)
    shards[1].unlink()
    with pytest.raises(ConfigError, match="none of step 1"):
        prepare(again, _nobody, lambda: False)


def test_positions_of_a_recorded_run_are_written_down_and_trained_with(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    recorded = config(tmp_path, POLICIES[0], "old")
    run_training(recorded, teacher)
    policy = {"kind": "random_switch", "from_run": str(run_of(recorded).path)}
    settings = resolve_config(config(tmp_path, policy, "new"))
    run_training(settings, teacher)
    places = {r.switch_position for shard in run_of(recorded).shards() for r in read_shard(shard)}
    drawn = {r.switch_position for shard in run_of(settings).shards() for r in read_shard(shard)}
    assert drawn - {None} <= places
    assert "from_run: null" in (run_of(settings).path / "config.yaml").read_text()


def test_students_are_not_started_for_a_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(config(tmp_path, {"kind": "replay", "run": "runs/old"}), tmp_path / "run.yaml")
    with pytest.raises(SystemExit) as caught:
        start_students(tmp_path / "run.yaml", [])
    assert caught.value.code == 2
    assert "policy.kind: replay needs no students" in capsys.readouterr().err
