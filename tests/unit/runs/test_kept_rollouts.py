"""Only the newest steps' rollouts may be kept: what reads them says so, and never takes a part for the whole."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from adaswitch.commands.inspect import show_rollouts
from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.config.trainer import TrainerConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.recorded import resolve_config, shards_by_step, switch_positions
from adaswitch.runs.shards import save_rollouts
from adaswitch.runs.summary import STEP_FIELDS, print_summary, summarise
from experiments.plan import Plan, cells
from experiments.preflight import require_data
from experiments.traces import read_stages
from tests.comparison import PLAN
from tests.fakes import random_rollout


def config(folder: Path, **settings: object) -> RunConfig:
    document = {
        "name": "run",
        "runs_dir": str(folder),
        "task": {"kind": "chain"},
        "teacher": {},
        "student": {"model": "models/chain-student"},
    }
    return parse_config(with_overrides(document, list(settings.items())))


def run_of(folder: Path, keep: bool | int, num_steps: int) -> RunDirectory:
    run = RunDirectory.create(config(folder, **{"trainer.save_rollouts": keep}))
    for step in range(num_steps):
        save_rollouts(run, step, [random_rollout(seed) for seed in range(3)], keep)
        append_record(run.metrics, {"step": step, **dict.fromkeys(STEP_FIELDS, 1.0)})
    return run


@pytest.mark.parametrize(
    ("keep", "steps"), [(True, [0, 1, 2, 3, 4]), (False, []), (1, [4]), (2, [3, 4]), (9, [0, 1, 2, 3, 4])]
)
def test_the_newest_steps_are_kept(tmp_path: Path, keep: bool | int, steps: list[int]) -> None:
    assert list(shards_by_step(run_of(tmp_path, keep, 5))) == steps


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "all", None])
def test_other_values_are_refused(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.save_rollouts"):
        config(tmp_path, **{"trainer.save_rollouts": wrong})


def test_a_number_stays_a_number_and_a_yes_a_yes() -> None:
    for keep in (True, False, 1, 7):
        found = TrainerConfig(save_rollouts=keep).save_rollouts
        assert (found, type(found)) == (keep, type(keep))
        again = TrainerConfig.model_validate(TrainerConfig(save_rollouts=keep).model_dump(mode="json"))
        assert type(again.save_rollouts) is type(keep)


def test_a_resumed_run_never_drops_what_it_has_just_written(tmp_path: Path) -> None:
    """An earlier attempt went on to step 4; the run goes on from step 1, whose rollouts are newer."""
    run = run_of(tmp_path, 2, 5)
    save_rollouts(run, 1, [random_rollout(0)], 2)
    assert list(shards_by_step(run)) == [1, 3, 4]
    save_rollouts(run, 2, [random_rollout(0)], 2)
    save_rollouts(run, 3, [random_rollout(0)], 2)
    assert list(shards_by_step(run)) == [2, 3, 4]


def test_a_replay_of_a_part_is_refused_with_the_reason(tmp_path: Path) -> None:
    run = run_of(tmp_path, 2, 5)
    policy = {"kind": "replay", "run": str(run.path)}
    with pytest.raises(ConfigError) as caught:
        resolve_config(config(tmp_path, name="new", policy=policy, **{"trainer.num_steps": 5}))
    assert str(caught.value) == (
        f"policy.run: {run.path} holds rollouts of 2 steps and none of step 0 (its trainer.save_rollouts kept those of "
        "the newest 2 steps), and trainer.num_steps is 5: take a run that has kept them all"
    )


def test_switch_positions_of_steps_that_are_gone_are_refused(tmp_path: Path) -> None:
    path = str(run_of(tmp_path, 2, 5).path)
    assert switch_positions(path, None) == switch_positions(path, [3, 4])
    with pytest.raises(
        DataError, match=r"no rollouts of steps 2 to 2 are kept here \(its trainer\.save_rollouts kept"
    ):
        switch_positions(path, [2, 4])
    with pytest.raises(DataError, match=r"no rollouts of steps 0 to 1 are kept here \(its trainer"):
        switch_positions(path, [0, 1])
    nothing = str(run_of(tmp_path / "none", False, 1).path)
    with pytest.raises(
        DataError, match=r"no rollouts are kept here \(its trainer\.save_rollouts kept none\)"
    ):
        switch_positions(nothing, None)


def test_inspect_says_which_steps_there_are_and_why(tmp_path: Path) -> None:
    run = run_of(tmp_path, 2, 5)
    with pytest.raises(
        DataError, match=r"no rollouts of step 0; there are steps 3 to 4 \(its trainer\.save_rollouts"
    ):
        show_rollouts(run.path, 0, 1, False, Console(file=StringIO()))


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (True, "rollouts of 5 steps take "),
        (1, "rollouts of 1 step take "),
        (False, "no rollouts are kept (trainer.save_rollouts)"),
    ],
)
def test_a_report_says_what_rollouts_take_on_disk(tmp_path: Path, keep: bool | int, words: str) -> None:
    run = run_of(tmp_path, keep, 5)
    console = Console(file=StringIO(), width=80)
    summary = summarise(run)
    assert summary is not None
    assert summary.num_steps == 5
    print_summary(run, summary, {}, console)
    assert words in console.file.getvalue()
    if keep is True:
        mib = sum(shard.stat().st_size for shard in run.shards()) / 2**20
        assert f"take {mib:,.1f} MiB" in console.file.getvalue()


def test_a_picture_of_a_part_says_so(tmp_path: Path) -> None:
    for keep, name in ((True, "first tenth"), (2, "first tenth of the steps kept")):
        stages = read_stages(run_of(tmp_path / str(keep), keep, 5))
        assert stages[0].name == name


@pytest.mark.parametrize(
    ("keep", "policy", "refused"),
    [
        (3, {"kind": "replay"}, True),
        (9, {"kind": "replay"}, False),
        (3, {"kind": "random_switch"}, False),
        (3, {"kind": "random_switch", "from_steps": [5, 6]}, True),
        (3, {"kind": "random_switch", "from_steps": [6, 8]}, False),
    ],
)
def test_a_plan_whose_source_will_drop_what_is_read_is_refused(tmp_path, keep, policy, refused) -> None:
    source = str(tmp_path / "two" / "adaswitch-seed3")
    setting = "run" if policy["kind"] == "replay" else "from_run"
    plan = Plan.model_validate(
        {
            **PLAN,
            "runs_dir": str(tmp_path),
            "seeds": [3],
            "settings": {
                "task.num_train": 10,
                "task.num_eval": 8,
                "student.model": "models/chain-student",
                "trainer.num_steps": 9,
            },
            "methods": {
                "adaswitch": {"trainer.save_rollouts": keep},
                "last": {"policy": {**policy, setting: source}},
            },
        }
    )
    if not refused:
        require_data(plan, cells(plan), "transformers")
        return
    with pytest.raises(
        ConfigError, match=rf"^method last: policy\.{setting}: method adaswitch keeps the rollouts of its"
    ):
        require_data(plan, cells(plan), "transformers")
