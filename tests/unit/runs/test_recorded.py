"""What a run takes from an earlier one: switch positions, and whether it can be replayed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.policies.random_switch import RandomSwitch
from adaswitch.method.rollout import Rollout
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.recorded import resolve_config, switch_positions
from adaswitch.runs.shards import save_rollouts
from tests.fakes import random_rollout


def config(folder: Path, policy: dict[str, object], name: str = "new", num_steps: int = 2) -> RunConfig:
    return parse_config(
        {
            "name": name,
            "runs_dir": str(folder),
            "task": {"kind": "chain"},
            "teacher": {},
            "student": {"model": "m"},
            "policy": policy,
            "trainer": {"num_steps": num_steps},
        }
    )


def switched_at(place: int | None, seed: int) -> Rollout:
    rollout = random_rollout(seed, num_student=4, num_teacher=3)
    return replace(rollout, by_teacher=np.arange(7) >= (7 if place is None else place))


@pytest.fixture
def recorded(tmp_path: Path) -> RunDirectory:
    """A run of three steps that switched at tokens 1, 1, 4 and never; 0 and never; never and never."""
    run = RunDirectory.create(config(tmp_path, {"kind": "adaswitch"}, "old"))
    for step, places in enumerate([[1, 1, 4, None], [0, None], [None, None]]):
        save_rollouts(run, step, [switched_at(place, seed) for seed, place in enumerate(places)])
    return run


def test_switch_positions_are_shares_of_all_rollouts(recorded: RunDirectory) -> None:
    path = str(recorded.path)
    assert switch_positions(path, None) == [1 / 8, 2 / 8, 0.0, 0.0, 1 / 8]
    assert switch_positions(path, [0, 0]) == [0.0, 2 / 4, 0.0, 0.0, 1 / 4]
    assert switch_positions(path, [1, 2]) == [1 / 4]
    assert switch_positions(path, [2, 9]) == []


def test_a_config_holds_the_positions_themselves(recorded: RunDirectory, tmp_path: Path) -> None:
    policy = {"kind": "random_switch", "from_run": str(recorded.path), "from_steps": [0, 0]}
    resolved = resolve_config(config(tmp_path, policy))
    assert resolved.policy == RandomSwitch(positions=[0.0, 0.5, 0.0, 0.0, 0.25])
    assert resolve_config(resolved) is resolved
    assert parse_config(resolved.model_dump(mode="json")) == resolved
    unchanged = config(tmp_path, {"kind": "adaswitch"})
    assert resolve_config(unchanged) is unchanged


def test_positions_of_a_run_that_is_not_there_or_kept_nothing(recorded: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run directory"):
        resolve_config(config(tmp_path, {"kind": "random_switch", "from_run": str(tmp_path / "nobody")}))
    with pytest.raises(DataError, match="no rollouts of steps 5 to 9"):
        switch_positions(str(recorded.path), [5, 9])
    empty = RunDirectory.create(config(tmp_path, {"kind": "adaswitch"}, "empty"))
    with pytest.raises(DataError, match="no rollouts are kept here"):
        switch_positions(str(empty.path), None)


def test_a_run_that_can_be_replayed(recorded: RunDirectory, tmp_path: Path) -> None:
    policy = {"kind": "replay", "run": str(recorded.path)}
    whole = config(tmp_path, policy, num_steps=3)
    assert resolve_config(whole) is whole
    with pytest.raises(
        ConfigError, match=r"policy\.run: .* of 3 steps and none of step 3, and trainer\.num_steps is 4"
    ):
        resolve_config(config(tmp_path, policy, num_steps=4))
    recorded.shards()[1].unlink()
    with pytest.raises(ConfigError, match="of 2 steps and none of step 1, "):
        resolve_config(whole)


def test_a_run_that_cannot_be_replayed(recorded: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run directory"):
        resolve_config(config(tmp_path, {"kind": "replay", "run": str(tmp_path / "nobody")}))
    policy = {"kind": "replay", "run": str(recorded.path)}
    shards = recorded.shards()
    content = shards[1].read_bytes()
    for damaged in (b"", content[:5], content[: len(content) - 1]):
        shards[1].write_bytes(damaged)
        with pytest.raises(
            DataError, match=r"step-000001\.safetensors: damaged .*: replay a run that has all"
        ):
            resolve_config(config(tmp_path, policy))
    shards[1].write_bytes(content)
    with pytest.raises(ConfigError, match="is this run itself"):
        resolve_config(config(tmp_path, policy, name="old"))


def test_a_run_that_goes_on_keeps_the_stop_tokens_that_it_was_begun_with(tmp_path: Path) -> None:
    fresh = config(tmp_path, {"kind": "adaswitch"})
    named = with_student(fresh, stop_token_ids=[5, 2])
    assert resolve_config(fresh) is fresh
    RunDirectory.create(fresh)
    assert resolve_config(fresh) is fresh
    run = RunDirectory.create(named)
    assert resolve_config(fresh) is fresh  # nothing was done, so the next attempt is the first
    append_record(run.metrics, {"step": 0})
    assert resolve_config(fresh) == named
    for other in (
        with_student(fresh, stop_token_ids=[7]),
        with_student(fresh, model="another"),
        fresh.model_copy(update={"trainer": fresh.trainer.model_copy(update={"resume": False})}),
    ):
        assert resolve_config(other) is other


def with_student(settings: RunConfig, **changes: object) -> RunConfig:
    return settings.model_copy(update={"student": settings.student.model_copy(update=changes)})
