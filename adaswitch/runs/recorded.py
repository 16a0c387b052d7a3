"""The rollouts of an earlier run as input of another run: their switch positions, or the rollouts themselves."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.method.policies.random_switch import RandomSwitch
from adaswitch.method.policies.replay import Replay
from adaswitch.runs.day import with_day_of_run
from adaswitch.runs.directory import CONFIG_FILE, RunDirectory


def resolve_config(config: RunConfig) -> RunConfig:
    """``config`` with the values that it takes from earlier runs filled in; ``config`` itself if there are none.

    ``policy.from_run`` becomes ``policy.positions``, and ``task.date`` the day of the run's first attempt. A run that
    goes on keeps the stop tokens that it was begun with. Every program that starts a part of a run calls this function
    first, so that all parts and the run's config.yaml have the same values. Raises ``UserError`` if the earlier run, or
    the needed part of it, does not exist.
    """
    config = _with_earlier_stop_tokens(config)
    policy = config.policy
    config = with_day_of_run(config)
    if isinstance(policy, Replay):
        check_replay(config, policy)
    if not isinstance(policy, RandomSwitch) or policy.from_run is None:
        return config
    positions = switch_positions(policy.from_run, policy.from_steps)
    return config.model_copy(update={"policy": RandomSwitch(positions=positions)})


def _with_earlier_stop_tokens(config: RunConfig) -> RunConfig:
    """``config`` with the stop tokens of the run that it goes on with, if that has done anything with this student."""
    run = RunDirectory(Path(config.runs_dir) / config.name)
    earlier_config = run.path / CONFIG_FILE
    goes_on = config.trainer.resume and earlier_config.is_file() and run.has_records()
    if not goes_on or config.student.stop_token_ids is not None:
        return config
    earlier = run.settings().student
    if earlier.model != config.student.model or earlier.stop_token_ids is None:
        return config
    student = config.student.model_copy(update={"stop_token_ids": earlier.stop_token_ids})
    return config.model_copy(update={"student": student})


def switch_positions(path: str, steps: list[int] | None) -> list[float]:
    """The shares of a run's rollouts that switched at token 0, 1, .. up to the last place with a switch.

    ``steps`` are the first and the last step that are looked at; None takes all steps.
    """
    # Imported only if there are shards to read, because it imports torch, which takes seconds.
    from adaswitch.runs.shards import read_shard

    run = RunDirectory.open(path)
    first, last = steps or (0, math.inf)
    by_step = shards_by_step(run)
    shards = [shard for step, shard in by_step.items() if first <= step <= last]
    if not shards:
        which = f"of steps {first} to {last} " if steps else ""
        raise DataError(
            f"no rollouts {which}are kept here{why_missing(run)}, as policy.from_run needs them",
            source=str(run.rollouts),
        )
    if steps and first < min(by_step):
        raise DataError(
            f"no rollouts of steps {first} to {min(by_step) - 1} are kept here{why_missing(run)}, as policy.from_steps "
            "needs them: begin later",
            source=str(run.rollouts),
        )
    places = [rollout.switch_position for shard in shards for rollout in read_shard(shard)]
    counts = Counter(place for place in places if place is not None)
    return [counts[place] / len(places) for place in range(max(counts, default=-1) + 1)]


def check_replay(config: RunConfig, policy: Replay) -> None:
    """Raises ``UserError`` unless ``policy.run`` has whole rollouts for each step of ``config``."""
    run = RunDirectory.open(policy.run)
    if run.path.resolve() == (Path(config.runs_dir) / config.name).resolve():
        raise ConfigError(f"policy.run: {policy.run} is this run itself: give this one another name")
    recorded = shards_by_step(run)
    missing = [step for step in range(config.trainer.num_steps) if step not in recorded]
    if missing:
        advice = _replay_advice(missing, recorded)
        raise ConfigError(
            f"policy.run: {policy.run} holds rollouts of {len(recorded)} steps and none of step {missing[0]}"
            f"{why_missing(run)}, and trainer.num_steps is {config.trainer.num_steps}: {advice}"
        )
    for step in range(config.trainer.num_steps):
        _require_whole(recorded[step])


def _require_whole(shard: Path) -> None:
    """Raises ``DataError`` for a shard that was not written to its end, as far as its head and its length tell."""
    # Imported only if there are shards to look at.
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(shard, framework="np"):
            return
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"damaged ({error}): replay a run that has all steps, or lower trainer.num_steps",
            source=str(shard),
        ) from None


def _replay_advice(missing: Sequence[int], recorded: Mapping[int, Path]) -> str:
    if recorded and missing[0] < min(recorded):
        return "take a run that has kept them all"
    return "lower it, or take a longer run"


def why_missing(run: RunDirectory) -> str:
    """In brackets, why the rollouts of some steps are not in ``run``, as far as its settings say it; else empty."""
    keep = run.settings().trainer.save_rollouts
    if keep is True:
        return ""
    kept = "none" if keep is False else f"those of the newest {keep} steps"
    return f" (its trainer.save_rollouts kept {kept})"


def shards_by_step(run: RunDirectory) -> dict[int, Path]:
    """The rollout shards of a run by their step, in rising order. Files without a step in their name are no shards."""
    steps = ((path.stem.removeprefix("step-"), path) for path in run.shards())
    return {int(step): path for step, path in steps if step.isdecimal()}
