"""The rollouts of an earlier run as input of another run: their switch positions, or the rollouts themselves."""

import math
from collections import Counter
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.policies.random_switch import RandomSwitch
from adaswitch.method.policies.replay import Replay
from adaswitch.runs.day import with_day_of_run
from adaswitch.runs.directory import RunDirectory


def resolve_config(config: RunConfig) -> RunConfig:
    """``config`` with the values that it takes from earlier runs filled in; ``config`` itself if there are none.

    ``policy.from_run`` becomes ``policy.positions``, and ``task.date`` the day of the run's first attempt. Every
    program that starts a part of a run calls this function first, so that all parts and the run's config.yaml have the
    same values. Raises ``UserError`` if the earlier run, or the needed part of it, does not exist.
    """
    policy = config.policy
    config = with_day_of_run(config)
    if isinstance(policy, Replay):
        check_replay(config, policy)
    if not isinstance(policy, RandomSwitch) or policy.from_run is None:
        return config
    positions = switch_positions(policy.from_run, policy.from_steps)
    return config.model_copy(update={"policy": RandomSwitch(positions=positions)})


def switch_positions(path: str, steps: list[int] | None) -> list[float]:
    """The shares of a run's rollouts that switched at token 0, 1, .. up to the last place with a switch.

    ``steps`` are the first and the last step that are looked at; None takes all steps.
    """
    # Imported only if there are shards to read, because it imports torch, which takes seconds.
    from adaswitch.runs.shards import read_shard

    run = RunDirectory.open(path)
    first, last = steps or (0, math.inf)
    shards = [shard for step, shard in shards_by_step(run).items() if first <= step <= last]
    if not shards:
        which = f"of steps {first} to {last} " if steps else ""
        raise DataError(
            f"no rollouts {which}are kept here, as policy.from_run needs them", source=str(run.rollouts)
        )
    places = [rollout.switch_position for shard in shards for rollout in read_shard(shard)]
    counts = Counter(place for place in places if place is not None)
    return [counts[place] / len(places) for place in range(max(counts, default=-1) + 1)]


def check_replay(config: RunConfig, policy: Replay) -> None:
    """Raises ``UserError`` unless ``policy.run`` has rollouts for each step of ``config``."""
    run = RunDirectory.open(policy.run)
    if run.path.resolve() == (Path(config.runs_dir) / config.name).resolve():
        raise ConfigError(f"policy.run: {policy.run} is this run itself: give this one another name")
    recorded = shards_by_step(run)
    missing = [step for step in range(config.trainer.num_steps) if step not in recorded]
    if missing:
        raise ConfigError(
            f"policy.run: {policy.run} holds rollouts of {len(recorded)} steps and none of step {missing[0]}, "
            f"and trainer.num_steps is {config.trainer.num_steps}: lower it, or take a longer run"
        )


def shards_by_step(run: RunDirectory) -> dict[int, Path]:
    """The rollout shards of a run by their step, in rising order."""
    return {int(path.stem.removeprefix("step-")): path for path in run.shards()}
